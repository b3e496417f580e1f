//! The batch rule: bounds, pace, and the reasons for which a batch closes. Pure: no clock, no
//! runtime, no I/O.

pub mod batcher;
pub mod open_batch;
pub mod pace;
