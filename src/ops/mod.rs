//! What the operator asks over HTTP: metrics, health, status and the live page.

mod access;
pub mod client;
pub mod health;
pub(crate) mod history;
mod page;
mod routes;
mod runbook;
mod server;
pub mod status;

pub use server::Ops;
