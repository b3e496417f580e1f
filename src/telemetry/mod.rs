//! What the operator sees.

pub mod events;
pub mod figures;
pub mod kinds;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod traces;
