//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const DEPENDENCY_DOWN: &str = "Dependency is down";
pub const SERVING: &str = "Serving metrics, health and the live page";
pub const PLAIN_TEXT: &str = "Metrics, the live page and ops.token go in plain text: set \
    ops.cert_file and ops.key_file, or listen on 127.0.0.1";
