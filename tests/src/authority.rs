//! The private key of one of Weir's authorities, taken as only the owner of its machine can take it.
//!
//! The command line signs no certificate that is expired, not yet valid or of the wrong type, and should not.
//! Tests need such certificates *by the right authority*: a refusal for the wrong one would prove nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use weir_ca::KeyEncryptionKey;

use crate::world::World;

/// Decrypts the key of the authority for `purpose` (`user`, `host`, `openssh`); gives an OpenSSH key file.
pub fn take(world: &World, purpose: &str) -> PathBuf {
    let stored = stored(world, purpose);
    let (name, sealed) = stored
        .trim()
        .split_once(' ')
        .expect("a name and hexadecimal digits");
    let key = fs::read_to_string(world.weir().data().join("control.key")).expect("the key-encryption key");
    let key = hex(key.trim()).try_into().expect("32 bytes");
    let opened = KeyEncryptionKey::new(&key).open(name, &hex(sealed));
    let text = opened.unwrap_or_else(|error| panic!("authority {name:?}: {error}"));
    let file = world.write(&format!("{purpose}-authority"), &*text);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
    file
}

fn stored(world: &World, purpose: &str) -> String {
    let script = "import sqlite3, sys\n\
                  rows = sqlite3.connect(sys.argv[1]).execute(\n    \
                  \"select name, hex(sealed) from resources where kind = 'authority' and name like ?\",\n    \
                  (sys.argv[2] + '/%',)).fetchall()\n\
                  print(*rows[0])\n";
    let database = world.weir().data().join("weir.db");
    world
        .job("python3")
        .args(["-c", script])
        .arg(database)
        .arg(purpose)
        .succeed()
        .out()
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
