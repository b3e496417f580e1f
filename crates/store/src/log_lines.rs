//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const OWN_WORDS: &str = "ClickHouse's own words";
pub const MERGES_NARROW: &str = "ClickHouse rejects wide merges; the daemon works with its default, which takes more CPU at small inserts";
