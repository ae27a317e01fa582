//! weir-load: client swarms and reports.

fn main() {}
