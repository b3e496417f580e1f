//! What the operator sees.

pub mod events;
pub mod log;
