//! The time of day, and pauses between tries.

mod backoff;
mod wall_clock;

pub use backoff::Backoff;
pub use wall_clock::{now_ms, unix_nanos};
