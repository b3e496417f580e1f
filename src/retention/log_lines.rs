//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const PURGED: &str = "Purged committed history";
