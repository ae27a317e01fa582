//! SQLite store with migrations; the only crate with SQL.
