//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const WARNING_OVER: &str = "Warning cleared";
pub const WARNING_IN_FORCE: &str = "Warning raised";
pub const USAGE_UNKNOWN: &str = "JetStream did not report what the account uses";
