//! Answers to the operator over HTTP: metrics, health, status and the live page.

mod access;
pub mod client;
pub mod health;
pub(crate) mod history;
pub mod log_lines;
pub mod metrics;
pub mod options;
mod page;
mod routes;
mod runbook;
mod server;
pub mod status;

pub use server::Ops;
