//! Migrations are compiled in: a changed one must build the crate again.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
