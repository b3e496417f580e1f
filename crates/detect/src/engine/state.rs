//! All that the engine remembers.

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::calibration::Calibration;
use crate::chance::Chance;
use crate::pairs::Pairs;
use crate::parameters::{Capacity, Parameters};
use crate::quiet::Quiet;
use crate::recent::Recent;
use crate::series::{Series, TypeRates};
use crate::state::asset::Asset;
use crate::state::balance::Balance;
use crate::state::counterparty::Counterparty;
use crate::state::wallet::Wallet;
use crate::table::Table;
use crate::time::{DAY_US, Watermark};

/// State of the engine: a pure function of the stream up to its position.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Last position that was taken.
    pub position: u64,
    /// Newest time of the stream.
    pub time: Watermark,
    /// Day of the newest time, since the epoch.
    pub day: i64,
    /// Wallets, each with an asset and a direction.
    pub wallets: Table<Wallet>,
    /// Counterparties, and wallets that receive.
    pub counterparties: Table<Counterparty>,
    /// Balances of wallets.
    pub balances: Table<Balance>,
    /// Assets.
    pub assets: Table<Asset>,
    /// Series of numbers.
    pub series: Table<Series>,
    /// Rates of event types.
    pub rates: TypeRates,
    /// Wallets with evidence of a compromise.
    pub suspect_wallets: Table<Chance>,
    /// Counterparties with evidence of a compromise.
    pub suspect_counterparties: Table<Chance>,
    /// Pairs of wallet and counterparty.
    pub pairs: Pairs,
    /// Tails of all detectors.
    pub calibration: Calibration,
    /// Budget of anomalies.
    pub budget: Budget,
    /// Subjects that are quiet.
    pub quiet: Quiet,
    /// Recent signals.
    pub recent: Recent,
    /// Figures.
    pub counts: Counts,
}

/// Figures of an engine since its first signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Signals taken.
    pub signals: u64,
    /// Signals that were late.
    pub late: u64,
    /// Anomalies.
    pub anomalies: u64,
    /// Feedback that counted.
    pub feedback: u64,
    /// Feedback from an origin that is not allowed.
    pub unknown_origins: u64,
    /// Wallets now, each with an asset and a direction.
    pub wallets: u64,
    /// Counterparties now.
    pub counterparties: u64,
    /// Series now.
    pub series: u64,
    /// Wallets evicted for others.
    pub wallets_evicted: u64,
    /// Counterparties evicted for others.
    pub counterparties_evicted: u64,
    /// Series evicted for others.
    pub series_evicted: u64,
    /// Balances, assets and suspects evicted for others.
    pub others_evicted: u64,
}

impl State {
    /// Creates the state before the first signal.
    pub fn new(parameters: &Parameters) -> Self {
        let capacity = &parameters.capacity;
        Self {
            position: 0,
            time: Watermark::default(),
            day: 0,
            wallets: Table::new(capacity.wallets),
            counterparties: Table::new(capacity.counterparties),
            balances: Table::new(capacity.balances),
            assets: Table::new(capacity.assets),
            series: Table::new(capacity.series),
            rates: TypeRates::default(),
            suspect_wallets: Table::new(capacity.suspects),
            suspect_counterparties: Table::new(capacity.suspects),
            pairs: Pairs::new(capacity.pairs),
            calibration: Calibration::default(),
            budget: Budget::default(),
            quiet: Quiet::default(),
            recent: Recent::default(),
            counts: Counts::default(),
        }
    }

    /// Begins a day of the stream's time, once for each jump: calibration fades by the days passed.
    pub fn begin_days(&mut self, parameters: &Parameters) {
        let day = self.time.newest_us() / DAY_US;
        if self.day == 0 {
            self.day = day;
        }
        if day > self.day {
            let passed = (day - self.day) as f64;
            let left = libm::exp2(-passed / parameters.calibration_days);
            self.calibration.decay(left);
            self.budget.begin_day(left);
            self.day = day;
        }
    }

    /// Changes the bounds of memory.
    pub fn set_capacity(&mut self, capacity: &Capacity) {
        self.wallets.set_capacity(capacity.wallets);
        self.counterparties.set_capacity(capacity.counterparties);
        self.balances.set_capacity(capacity.balances);
        self.assets.set_capacity(capacity.assets);
        self.series.set_capacity(capacity.series);
        self.suspect_wallets.set_capacity(capacity.suspects);
        self.suspect_counterparties.set_capacity(capacity.suspects);
    }

    /// Builds what a snapshot leaves out. Returns `false` if the parts contradict each other.
    pub fn rebuild(&mut self) -> bool {
        let tables = [
            self.wallets.rebuild(),
            self.counterparties.rebuild(),
            self.balances.rebuild(),
            self.assets.rebuild(),
            self.series.rebuild(),
            self.series.iter().all(Series::is_sound),
            self.rates.rebuild(),
            self.suspect_wallets.rebuild(),
            self.suspect_counterparties.rebuild(),
            self.quiet.rebuild(),
            self.pairs.is_sound(),
            self.calibration.is_sound(),
            self.budget.is_sound(),
            self.recent.is_sound(),
        ];
        tables.iter().all(|is_sound| *is_sound)
    }

    /// Figures, with those of the tables.
    pub fn counts(&self) -> Counts {
        Counts {
            wallets: self.wallets.len() as u64,
            counterparties: self.counterparties.len() as u64,
            series: self.series.len() as u64,
            wallets_evicted: self.wallets.evicted(),
            counterparties_evicted: self.counterparties.evicted(),
            series_evicted: self.series.evicted(),
            others_evicted: self.balances.evicted()
                + self.assets.evicted()
                + self.suspect_wallets.evicted()
                + self.suspect_counterparties.evicted(),
            ..self.counts
        }
    }
}
