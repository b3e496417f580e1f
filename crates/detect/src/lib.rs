//! Anomalies in a stream of risk signals.
//!
//! An [`Engine`] takes the signals of a stream in their order and returns what is unusual, with the
//! reasons. Its state is a pure function of the stream: no runtime, no clock, no I/O, no random
//! numbers. So a replay, a restart from a snapshot and a backtest give what the live run gave, bit
//! for bit. See docs/internals/detection.md.

mod amount;
mod anomaly;
mod budget;
mod calibration;
mod chance;
mod detector;
mod engine;
mod facts;
mod feedback;
mod finding;
mod index;
mod key;
mod observation;
mod odds;
mod pairs;
mod parameters;
mod quiet;
mod recent;
mod series;
mod snapshot;
mod state;
mod table;
mod tail;
mod time;

pub use amount::{AMOUNT_CHARS_MAX, Amount, AmountError, Direction};
pub use anomaly::{Anomaly, AnomalyId, Share};
pub use detector::Detector;
pub use engine::{AdoptError, Counts, Engine, OutOfOrder};
pub use feedback::{About, Feedback, Heard, Verdict};
pub use finding::{Figure, Finding, Unit};
pub use observation::{BALANCES_MAX, Observation, Value};
pub use parameters::{Capacity, ENGINE_VERSION, ParameterFault, ParameterFaults, Parameters};
pub use series::Series;
pub use snapshot::SnapshotError;
