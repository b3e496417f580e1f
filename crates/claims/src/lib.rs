//! The claims log: exactly once through order, not through time.
//!
//! Before a batch is inserted, its composition is appended to a log, which every instance reads
//! alike. A message belongs to the first claim that names it. A claim is inserted under the
//! deduplication token in its record. So it lands once, however often and by whichever instance it
//! is sent.
//!
//! This crate contains only the rules: no runtime, no clock, no I/O. [`Log`] folds the records;
//! [`Instance`] decides the steps of one process. `tests/model` explores this very code.

mod block;
mod entry;
mod flaw;
mod id;
mod instance;
mod log;
mod packed;
mod record;
mod wire;

pub use block::{ClaimBlock, Part};
pub use entry::{Cause, Entry, Fate};
pub use flaw::Flaw;
pub use id::{LogPosition, Nonce, Position, PublisherId};
pub use instance::{
    Evidence, FenceOver, FoundRows, InsertAnswer, InsertAttempt, Instance, RecordDelayed, Step,
};
pub use log::{AllFencesOver, Claim, Log, LogReadError, Rebuild, Standing, StoredEntry};
pub use record::{Done, Proof, Record, RecordBody, Snapshot};
pub use wire::{MAX_ENTRIES, WireError, decode, encode};
