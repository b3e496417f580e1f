//! TLS, HTTP listeners and HTTP clients' connectors.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod http;
pub mod log_lines;
pub mod tls;
