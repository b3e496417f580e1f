//! The `risksignal` command.

fn main() {}
