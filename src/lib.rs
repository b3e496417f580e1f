//! Moves an application's risk signals from NATS JetStream into ClickHouse without losing one.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod capacity;
pub mod claiming;
pub mod cli;
pub mod command;
pub mod conditions;
pub mod metrics;
pub mod ops;
pub mod pipeline;
pub mod reload;
pub mod retention;
pub mod serve;
pub mod service_manager;
pub mod settings;
#[cfg(test)]
mod shipped;
pub mod shutdown;
