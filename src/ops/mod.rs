//! What the operator asks over HTTP: metrics, health, status and the live page.

mod access;
pub mod client;
pub mod health;
mod page;
mod routes;
mod server;
pub mod status;

pub use server::Ops;
