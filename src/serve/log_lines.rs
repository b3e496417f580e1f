//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const SERVING: &str = "Serving signals over HTTP";
pub const STOPPED: &str = "Stopped; every request that was taken is answered";
pub const READ_UNANSWERED: &str = "ClickHouse did not answer a question over HTTP";
pub const ANSWERED: &str = "Answered over HTTP";
