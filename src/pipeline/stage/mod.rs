//! The stages, and what each works with.

pub mod absent;
pub mod ack;
pub mod ack_floor;
pub mod circuit;
pub mod claimed;
pub mod complete;
pub mod dead_letter;
pub mod decode;
pub mod encode;
pub mod expired;
pub mod free;
pub mod insert;
pub mod letter;
pub mod max_deliveries;
pub mod parked;
pub mod pull;
pub mod quarantine;
pub mod settle;
pub mod takeover;
pub mod tries;
