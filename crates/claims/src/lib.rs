//! The claims log: exactly once by order, not by time.
//!
//! Before a batch is inserted, its composition is appended to a log that every instance reads
//! alike. A message belongs to the first claim that names it. A claim is inserted under a
//! deduplication token that stands in its record, so it lands once, however often and by
//! whichever instance it is sent.
//!
//! This crate has the rules and nothing else: no runtime, no clock, no I/O. [`Log`] folds the
//! records; [`Instance`] decides what one process may do with a claim. `tests/model` explores
//! this very code.

mod flaw;
mod id;
mod instance;
mod log;
mod packed;
mod record;
mod wire;

pub use flaw::Flaw;
pub use id::{Nonce, Place, Position, Publisher};
pub use instance::{Answer, Attempt, Evidence, FenceOver, Found, Instance, NotNow, Step};
pub use log::{AllFencesOver, Claim, Log, LogError, Rebuild, Standing, Stored};
pub use record::{Block, Body, Cause, Done, Entry, Fate, Part, Proof, Record, Snapshot};
pub use wire::{MAX_ENTRIES, WireError, decode, encode};
