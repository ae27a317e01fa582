//! What a server shows before a login comes through, as the words of the server that it is.

use weir_tests::World;

#[test]
fn the_servers_own_banner_is_shown() {
    let text = "Authorised use only.\nZutritt nur für Befugte.\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let world = World::builder()
        .sshd(&format!("Banner {}", file.path().display()))
        .start();
    let seen = world
        .ssh()
        .args(["-o", "LogLevel=INFO", "target", "echo in"])
        .run()
        .ended_with(0);
    assert_eq!(seen.err().replace('\r', ""), text, "{seen}");
    assert_eq!(seen.out(), "in\n", "{seen}");
}
