//! Parameters of the engine, their validation and their version.

mod fault;

pub use fault::{ParameterFault, ParameterFaults};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::chance::Belief;
use crate::detector::{DETECTORS, Detector};
use crate::time::{days_us, seconds_us};

/// Version of the rules in this crate. A change that alters any anomaly raises it.
pub const ENGINE_VERSION: u16 = 1;

/// All that an operator may change. Every default was measured: see docs/internals/detection.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Share of the signals that may become anomalies, above 0 and up to 0.5.
    pub budget: f64,
    /// Least probability of an anomaly, from 0 to 1. It leaves budget unspent in quiet times.
    pub probability_min: f64,
    /// Days from the first signal without anomalies, in which the detectors learn.
    pub warmup_days: f64,
    /// Share of the signals that each cause is expected to make unusual, above 0 and up to 0.1.
    pub prior: f64,
    /// Shape of unusual tail probabilities, above 0 and below 1: see `odds::ln_bayes_factor`.
    pub shape: f64,
    /// Window of short-term rates, in hours.
    pub fast_hours: f64,
    /// Window of long-term rates, in days.
    pub slow_days: f64,
    /// Days after which 1/e of what is known of a wallet's compromise is left.
    pub wallet_days: f64,
    /// Days after which 1/e of what is known of a counterparty's compromise is left.
    pub counterparty_days: f64,
    /// Time that an anomaly's subject is quiet, in minutes, unless its odds rise by `rise`.
    pub quiet_minutes: f64,
    /// Rise of the odds that ends a quiet time early, as a factor of at least 1.
    pub rise: f64,
    /// Most time that an event may be ahead of its storage, in seconds.
    pub skew_s: f64,
    /// Most time that a signal may be behind the newest, in seconds, before it is late.
    pub lateness_s: f64,
    /// Days after which half of a detector's calibration is left.
    pub calibration_days: f64,
    /// Origins whose feedback counts.
    pub origins: Vec<String>,
    /// Detectors that are off.
    pub off: Vec<Detector>,
    /// Bounds of memory.
    pub capacity: Capacity,
}

/// Most states of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capacity {
    /// Wallets, each with asset and direction: 80 bytes each with key and index.
    pub wallets: u32,
    /// Counterparties: 80 bytes each with key and index.
    pub counterparties: u32,
    /// Balances of wallets: 40 bytes each.
    pub balances: u32,
    /// Wallets and counterparties with evidence of a compromise: 40 bytes each, for each role.
    pub suspects: u32,
    /// Pairs of wallet and counterparty that are remembered: 4 bytes each.
    pub pairs: u32,
    /// Assets: 40 bytes each.
    pub assets: u32,
    /// Series of numbers: about 1 kB each.
    pub series: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            budget: 0.01,
            probability_min: 0.04,
            warmup_days: 14.0,
            prior: 0.003,
            shape: 0.1,
            fast_hours: 6.0,
            slow_days: 14.0,
            wallet_days: 10.0,
            counterparty_days: 20.0,
            quiet_minutes: 10.0,
            rise: 2.0,
            skew_s: 300.0,
            lateness_s: 3_600.0,
            calibration_days: 28.0,
            origins: Vec::new(),
            off: Vec::new(),
            capacity: Capacity::default(),
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            wallets: 1_000_000,
            counterparties: 1_000_000,
            balances: 1_000_000,
            suspects: 100_000,
            pairs: 4_000_000,
            assets: 4_096,
            series: 1_024,
        }
    }
}

impl Parameters {
    /// Checks every parameter.
    ///
    /// # Errors
    /// Fails with all faults at once.
    pub fn validate(&self) -> Result<(), ParameterFaults> {
        let within = |name, value: f64, low: f64, high: f64| {
            let is_fault = !(low..=high).contains(&value);
            is_fault.then_some(ParameterFault::OutOfRange {
                name,
                value,
                low,
                high,
            })
        };
        let capacity = &self.capacity;
        let holds =
            |name, value: u32, high: u32| within(name, f64::from(value), 1.0, f64::from(high));
        let faults = [
            within("budget", self.budget, 1e-6, 0.5),
            within("probability_min", self.probability_min, 0.0, 1.0),
            within("warmup_days", self.warmup_days, 0.0, 365.0),
            within("prior", self.prior, 1e-6, 0.1),
            within("shape", self.shape, 0.01, 0.99),
            within("fast_hours", self.fast_hours, 0.01, 168.0),
            within("slow_days", self.slow_days, 0.1, 365.0),
            within("wallet_days", self.wallet_days, 0.1, 365.0),
            within("counterparty_days", self.counterparty_days, 0.1, 365.0),
            within("quiet_minutes", self.quiet_minutes, 0.0, 43_200.0),
            within("rise", self.rise, 1.0, 1e6),
            within("skew_s", self.skew_s, 0.0, 86_400.0),
            within("lateness_s", self.lateness_s, 0.0, 31_536_000.0),
            within("calibration_days", self.calibration_days, 1.0, 3_650.0),
            holds("capacity.wallets", capacity.wallets, 100_000_000),
            holds(
                "capacity.counterparties",
                capacity.counterparties,
                100_000_000,
            ),
            holds("capacity.balances", capacity.balances, 100_000_000),
            holds("capacity.suspects", capacity.suspects, 100_000_000),
            holds("capacity.pairs", capacity.pairs, 1_000_000_000),
            holds("capacity.assets", capacity.assets, 1_000_000),
            holds("capacity.series", capacity.series, 1_000_000),
            (self.fast_hours >= self.slow_days * 24.0).then_some(ParameterFault::WindowsCross),
        ];
        ParameterFaults::none_of(faults.into_iter().flatten().collect())
    }

    /// Version of the detectors under these parameters: equal versions give equal anomalies for
    /// equal streams. A hash of [`ENGINE_VERSION`] and every parameter.
    pub fn version(&self) -> u32 {
        // A parameter that cannot be encoded does not exist; the hash of nothing is a version, too.
        let bytes = postcard::to_allocvec(&(ENGINE_VERSION, self)).unwrap_or_default();
        XxHash3_64::oneshot(&bytes) as u32
    }

    /// Belief about wallets.
    pub(crate) fn wallets(&self) -> Belief {
        Belief {
            prior: self.prior,
            tau_us: days_us(self.wallet_days),
            hit_rate: WALLET_HIT_RATE,
        }
    }

    /// Belief about counterparties.
    pub(crate) fn counterparties(&self) -> Belief {
        Belief {
            prior: self.prior,
            tau_us: days_us(self.counterparty_days),
            hit_rate: COUNTERPARTY_HIT_RATE,
        }
    }

    /// Window of short-term rates, in microseconds.
    pub(crate) fn fast_us(&self) -> i64 {
        seconds_us(self.fast_hours * 3_600.0)
    }

    /// Window of long-term rates, in microseconds.
    pub(crate) fn slow_us(&self) -> i64 {
        days_us(self.slow_days)
    }

    /// For each detector: it is on.
    pub(crate) fn on(&self) -> [bool; DETECTORS] {
        Detector::ALL.map(|detector| !self.off.contains(&detector))
    }
}

/// Share of a compromised wallet's payments that the thief makes. Between 0.2 and 0.4 the figures
/// on the payments differ by less than 0.01.
const WALLET_HIT_RATE: f64 = 0.3;
/// Share of the payments to a compromised counterparty that are fraud.
const COUNTERPARTY_HIT_RATE: f64 = 0.8;
