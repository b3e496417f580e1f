//! Moves an application's risk signals from NATS JetStream into ClickHouse and never loses one.

pub mod backoff;
pub mod cache;
pub mod capacity;
pub mod claiming;
pub mod cli;
pub mod command;
pub mod contract;
pub mod dead_letter;
pub mod fault_point;
pub mod http;
pub mod jetstream;
pub mod ops;
pub mod pipeline;
pub mod reload;
pub mod retention;
pub mod serve;
pub mod service_manager;
pub mod settings;
pub mod shutdown;
pub mod signal;
pub mod store;
pub mod synthetic;
pub mod telemetry;
pub mod tls;
pub mod wall_clock;
pub mod wallet;
