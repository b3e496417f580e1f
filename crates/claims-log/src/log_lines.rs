//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const LOG_UNREADABLE: &str = "The claims log cannot be read; trying again";
pub const RECORD_NOT_APPENDED: &str = "Record not appended to the claims log; trying again";
pub const NO_RECORD: &str = "Skipped a message in the claims log that is not a record: another \
    program publishes to the log; allow only the daemon's user to";
