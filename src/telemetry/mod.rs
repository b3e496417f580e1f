//! What the operator sees.

pub mod events;
pub mod faulty;
pub mod figures;
pub mod kinds;
pub mod log;
mod maker;
pub mod metrics;
pub mod recent;
pub mod repeats;
mod room;
pub mod traces;
