//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const OTHER_LOG: &str =
    "The claims log is not the one that was read; claiming pauses until it is rebuilt";
pub const WINDOW_SHARED: &str = "Another claims log writes to this table; waiting until its \
    daemons leave this one its share of the table's window";
pub const LOG_GONE: &str = "The claims log is gone, although signals were claimed: it was removed, \
    or not restored; waiting until every insert of its claims has ended";
