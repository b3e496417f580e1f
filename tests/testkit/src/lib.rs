//! Servers, daemons and relays for one test, gone with it. Tests and benchmarks use it; no part of
//! the program does.

// A test stops at the first surprise, and has no readers of a reference.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod api;
mod binary;
pub mod browser;
pub mod certificates;
pub mod clickhouse;
pub mod crowd;
pub mod eavesdropper;
pub mod fault;
pub mod hold_renames;
pub mod lying_proxy;
pub mod meddler;
pub mod nats;
pub mod notify_socket;
pub mod ops;
pub mod otlp;
pub mod process;
pub mod prometheus;
pub mod raw_nats;
pub mod redis;
pub mod refusal;
mod repository;
mod setting;
pub mod signals;
mod skip;
pub mod slow_link;
pub mod small_disk;
mod stack;
pub mod step_clock;
pub mod stored;
pub mod terminal;
pub mod tls_server;
pub mod users;
mod wait;
pub mod wallets;

pub use binary::{Daemon, program, risksignal};
pub use repository::repository;
pub use setting::Variable;
pub use skip::{skip, skip_but_in_ci};
pub use stack::Stack;
pub use wait::{DEADLINE, eventually};
