//! Recordings in a bucket of a real S3 server.

use std::fs;

use weir_tests::s3::SECRET;
use weir_tests::{S3, Session, World, eventually};

/// What the bucket has of a session.
pub(crate) fn object_of(s3: &S3, session: &Session) -> Vec<String> {
    let mut objects = s3.objects();
    objects.retain(|name| name.ends_with(&format!("/{}.weir", session.id())));
    objects
}

#[test]
fn recordings_go_into_the_bucket_and_are_read_back_from_it() {
    let s3 = S3::start();
    let world = World::builder().config(&s3.config()).start();
    world.exec("echo small").succeed();
    // Noise is as long when it is stored: six parts.
    let large = world.exec("head -c 44000000 /dev/urandom").succeed();
    let sessions = world.weir().finished_sessions(2);
    for session in &sessions {
        let objects = object_of(&s3, session);
        assert_eq!(objects.len(), 1, "{objects:?}");
        // YYYY/MM/DD/ID.weir, under the prefix.
        assert_eq!(objects[0].split('/').count(), 4, "{objects:?}");
        world.weir().verify(session).succeeded();
    }
    assert_eq!(s3.objects().len(), 2);
    assert_eq!(s3.parts(), 0, "no part of an upload is left");
    let exported = world.weir().export(&sessions[0], "json").len();
    assert!(exported > large.stdout.len(), "{exported} bytes of JSON");
    assert_eq!(world.weir().export(&sessions[1], "text"), b"small\n");
    let beside = fs::read_dir(world.weir().data().join("recordings"))
        .unwrap()
        .count();
    assert_eq!(beside, 0, "nothing is kept in the data directory");
    holds(&world, &sessions[1]);
    let said = world
        .weir()
        .expect_log(&["recordings go to the store", "s3://audit/ssh/weir"]);
    assert!(!said.contains(SECRET));
    // Nothing of the spool is kept for them.
    eventually("the spool is let go of", || {
        let spool = fs::read_dir(world.weir().data().join("spool")).unwrap();
        let segments = spool
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "segment"));
        (segments.count() <= 2).then_some(())
    });
}

/// As an administrator types it; what a hold keeps is shown where the sweep is.
fn holds(world: &World, session: &Session) {
    let weir = world.weir();
    let said = weir.admin(&["recordings", "hold", session.id(), "--reason", "case 7, by legal"]);
    assert_eq!(said, format!("{} is held: case 7, by legal\n", session.id()));
    let listed = weir.admin(&["recordings", "ls"]);
    assert!(
        listed.contains("held: case 7, by legal") && listed.contains("stored"),
        "{listed}"
    );
    let rows = weir.recordings();
    let row = rows.iter().find(|row| row.id() == session.id()).unwrap();
    assert_eq!(row.field("hold")["reason"], "case 7, by legal");
    let again = weir
        .cli()
        .args(["recordings", "hold", session.id(), "--reason", "x"])
        .run();
    assert!(again.ended_with(1).err().contains("held already"));
    weir.admin(&["recordings", "release", session.id()]);
    assert!(!weir.admin(&["recordings", "ls"]).contains("held:"));
}
