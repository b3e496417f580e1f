//! One signal, as the detectors see it.

use crate::amount::{Amount, Direction};

/// Most balances of a snapshot that are looked at, in the order of the payload.
pub const BALANCES_MAX: usize = 256;

/// One signal of the stream, with the fields that its event type's contract names.
///
/// A field that the contract does not name is empty or `None`, and no detector scores the signal
/// on it.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Position in the stream: its sequence.
    pub position: u64,
    /// Time of the event, in microseconds since the epoch.
    pub event_us: i64,
    /// Time at which JetStream stored the signal, in microseconds since the epoch.
    pub stored_us: i64,
    /// Event type.
    pub event_type: &'a str,
    /// Wallet; empty if the signal has none.
    pub wallet: &'a str,
    /// Other party of a payment; empty if there is none.
    pub counterparty: &'a str,
    /// Asset of the amount: amounts of different assets are never added.
    pub asset: &'a str,
    /// Amount, if the signal has one.
    pub amount: Option<Amount<'a>>,
    /// Way of the amount.
    pub direction: Direction,
    /// Balances by asset, if the signal is a snapshot of its wallet.
    pub balances: &'a [(&'a str, Amount<'a>)],
    /// Point of a series of numbers.
    pub value: Option<Value<'a>>,
}

/// Point of a series, such as a numeric field of a type of signals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value<'a> {
    /// Name of the series.
    pub series: &'a str,
    /// Number; a value that is not finite is not scored.
    pub number: f64,
}

impl Observation<'_> {
    /// Creates a signal without optional fields, stored at its event time.
    pub fn new(position: u64, event_us: i64) -> Self {
        Self {
            position,
            event_us,
            stored_us: event_us,
            event_type: "",
            wallet: "",
            counterparty: "",
            asset: "",
            amount: None,
            direction: Direction::Out,
            balances: &[],
            value: None,
        }
    }
}
