//! Probability that a signal is unusual, from the states before it counts.

use crate::amount::Amount;
use crate::calibration::{Evidence, Findings, of_cause};
use crate::detector::{Cause, DETECTORS, Detector};
use crate::engine::state::State;
use crate::facts::Facts;
use crate::finding::{Finding, Unit};
use crate::key::Key;
use crate::observation::{BALANCES_MAX, Observation};
use crate::odds;
use crate::parameters::Parameters;
use crate::state::wallet::Windows;
use crate::time::Moment;

/// Keys of a signal's subjects.
#[derive(Debug, Clone, Copy)]
pub struct Subjects {
    /// Wallet; `None` if the signal has none.
    pub wallet: Option<Key>,
    /// Other party; `None` if the signal names none.
    pub counterparty: Option<Key>,
    /// Asset.
    pub asset: Key,
    /// Wallet with asset and direction.
    pub flow: Option<Key>,
    /// Series.
    pub series: Option<Key>,
}

/// Weighed evidence about a signal.
#[derive(Debug, Clone)]
pub struct Weighed {
    /// Time that the signal counts at, in microseconds since the epoch.
    pub at_us: i64,
    /// Facts for the detectors; `None` for a signal without a wallet.
    pub facts: Option<Facts>,
    /// Findings of the detectors.
    pub findings: Findings,
    /// Event type whose rate closed an interval with a finding.
    pub rate_of: Option<String>,
    /// Evidence of the findings.
    pub evidence: Evidence,
    /// Probability by cause: wallet, counterparty, series.
    pub causes: [f64; 3],
    /// Bayes factor of the wallet's evidence; 1 without any.
    pub wallet_factor: f64,
    /// Tail probability of the amount for its wallet; `None` in the warm-up.
    pub amount_tail: Option<f64>,
    /// Probability for any cause.
    pub probability: f64,
}

impl Subjects {
    /// Subjects of a signal.
    pub fn of(signal: &Observation<'_>) -> Self {
        let address = |text: &str| (!text.is_empty()).then(|| Key::address(text));
        let wallet = address(signal.wallet);
        let asset = Key::asset(signal.asset);
        Self {
            wallet,
            counterparty: address(signal.counterparty),
            asset,
            flow: wallet.map(|wallet| wallet.flow(asset, signal.direction)),
            series: signal.value.map(|value| Key::series(value.series)),
        }
    }

    /// Subject that a cause is about; the asset where the signal has none.
    pub fn of_cause(&self, cause: Cause) -> Key {
        let subject = match cause {
            Cause::Wallet => self.wallet,
            Cause::Counterparty => self.counterparty,
            Cause::Series => self.series,
        };
        subject.unwrap_or(self.asset)
    }
}

impl Weighed {
    /// Odds for any cause.
    pub fn odds(&self) -> f64 {
        self.probability / (1.0 - self.probability).max(1e-9)
    }

    /// Weight of each detector in the probability, at least 0.
    pub fn weights(&self) -> [f64; DETECTORS] {
        let mut weights = [0.0; DETECTORS];
        for (index, cause) in [Cause::Wallet, Cause::Counterparty, Cause::Series]
            .iter()
            .enumerate()
        {
            let own = |detector: &Detector| detector.cause() == *cause;
            let own: Vec<Detector> = Detector::ALL.into_iter().filter(own).collect();
            let evidence =
                |detector: Detector| detector.weight() * self.evidence[detector as usize].max(0.0);
            let sum: f64 = own.iter().map(|detector| evidence(*detector)).sum();
            for detector in own {
                if sum > 0.0 {
                    weights[detector as usize] = self.causes[index] * evidence(detector) / sum;
                }
            }
        }
        weights
    }

    /// Detector with the largest weight; the first of equal ones.
    pub fn strongest(&self) -> Detector {
        let weights = self.weights();
        let mut best = Detector::Amount;
        for detector in Detector::ALL {
            if weights[detector as usize] > weights[best as usize] {
                best = detector;
            }
        }
        best
    }
}

impl State {
    /// Weighs a signal. Changes the memory of pairs, balances and series, and calibration alone.
    pub fn weigh(
        &mut self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        moment: Moment,
        parameters: &Parameters,
        on: &[bool; DETECTORS],
    ) -> Weighed {
        let facts = self.facts(signal, subjects, moment, parameters);
        let mut findings = Findings::default();
        if let Some(facts) = &facts {
            for detector in Detector::ALL {
                let needs_time = matches!(
                    detector,
                    Detector::Rate | Detector::Burst | Detector::Fan | Detector::Hour
                );
                if !(moment.is_late && needs_time) {
                    findings[detector as usize] = detector.look(facts);
                }
            }
        }
        findings[Detector::Balance as usize] = self.balance_drop(signal, subjects, moment);
        findings[Detector::Level as usize] = self.level(signal, subjects, moment);
        let rate = self.rates.count(signal.event_type, self.time.newest_us());
        findings[Detector::TypeRate as usize] = rate.as_ref().map(|rate| rate.finding);
        for (finding, is_on) in findings.iter_mut().zip(on) {
            *finding = finding.filter(|_| *is_on);
        }
        let evidence = self.calibration.evidence(&findings, parameters.shape);
        let amount_tail = self.calibration.tail(Detector::Amount, &findings);
        self.calibration.add(&findings);
        let mut weighed = Weighed {
            at_us: moment.at_us,
            facts,
            findings,
            rate_of: rate.map(|rate| rate.event_type),
            evidence,
            causes: [0.0; 3],
            wallet_factor: 1.0,
            amount_tail,
            probability: 0.0,
        };
        self.combine(subjects, parameters, on, &mut weighed);
        weighed
    }

    /// Combines the evidence by cause, and the causes as independent ones.
    fn combine(
        &self,
        subjects: &Subjects,
        parameters: &Parameters,
        on: &[bool; DETECTORS],
        weighed: &mut Weighed,
    ) {
        let ln_factor = |cause, weighed: &Weighed| {
            of_cause(cause, &weighed.findings, &weighed.evidence).map(libm::exp)
        };
        let prior = parameters.prior;
        if let Some(factor) = ln_factor(Cause::Wallet, weighed) {
            weighed.wallet_factor = factor;
            let belief = parameters.wallets();
            let chance = subjects
                .wallet
                .and_then(|key| self.suspect_wallets.get(key));
            let chance = chance.map_or(belief.prior, |chance| chance.at(weighed.at_us, &belief));
            let odds = (belief.hit_rate * chance).max(prior) * factor;
            weighed.causes[0] = odds::probability(odds);
        }
        let by_evidence = ln_factor(Cause::Counterparty, weighed)
            .map_or(0.0, |factor| odds::probability(prior * factor));
        let mut by_feedback = 0.0;
        let suspect = subjects
            .counterparty
            .filter(|_| on[Detector::Feedback as usize]);
        if let Some(suspect) = suspect.and_then(|key| self.suspect_counterparties.get(key)) {
            let belief = parameters.counterparties();
            by_feedback = belief.hit_rate * suspect.at(weighed.at_us, &belief);
            let lift = by_feedback / (belief.hit_rate * belief.prior);
            weighed.evidence[Detector::Feedback as usize] = libm::log(lift.max(1e-9));
            let finding = Finding::new(lift, Unit::Probability, belief.prior, by_feedback);
            weighed.findings[Detector::Feedback as usize] = Some(finding);
        }
        weighed.causes[1] = odds::any([by_evidence, by_feedback]);
        if let Some(factor) = ln_factor(Cause::Series, weighed) {
            weighed.causes[2] = odds::probability(prior * factor);
        }
        weighed.probability = odds::any(weighed.causes);
    }

    fn facts(
        &mut self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        moment: Moment,
        parameters: &Parameters,
    ) -> Option<Facts> {
        let (wallet, flow) = (subjects.wallet?, subjects.flow?);
        let windows = windows(parameters);
        let ln = signal.amount.and_then(|amount: Amount<'_>| amount.ln());
        let asset = self.assets.get(subjects.asset).copied().unwrap_or_default();
        let variance = asset.variance_within();
        // The reads of memory come first and together, so that they wait side by side.
        let state = *self.wallets.state(flow);
        let party = subjects.counterparty;
        let party = party.map(|key| *self.counterparties.state(key));
        let is_new = subjects.counterparty.is_some_and(|party| {
            let pair = wallet.flow(wallet, signal.direction).pair(party);
            self.pairs.is_new(pair)
        });
        // A chain goes on to new counterparties alone, so most signals need no look at the receipt.
        let own = ln.filter(|_| is_new);
        let own = own.and_then(|_| self.counterparties.get(wallet));
        Some(Facts {
            wallet: state.before(moment, windows, variance),
            counterparty: party.map(|party| party.before(moment, windows)),
            ln,
            above_asset: ln.and_then(|ln| asset.score(ln)),
            asset_mean: asset.mean(),
            is_new,
            direction: signal.direction,
            receipt: own.and_then(|own| own.receipt(moment, subjects.asset.tag())),
        })
    }

    /// Largest drop among a snapshot's balances.
    fn balance_drop(
        &mut self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        moment: Moment,
    ) -> Option<Finding> {
        let wallet = subjects.wallet?;
        let mut largest = None::<Finding>;
        for (asset, balance) in signal.balances.iter().take(BALANCES_MAX) {
            let state = self.balances.state(wallet.balance(Key::asset(asset)));
            let drop = state.take(balance.ln(), moment.at_us, signal.position);
            if let Some(drop) = drop
                && largest.is_none_or(|largest| drop.score > largest.score)
            {
                let finding = Finding::new(drop.score, Unit::Balance, drop.before, drop.after);
                largest = Some(finding.since(drop.since));
            }
        }
        largest
    }

    fn level(
        &mut self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        moment: Moment,
    ) -> Option<Finding> {
        let series = self.series.state(subjects.series?);
        series.look(moment.at_us, signal.value?.number, 0.0)
    }
}

/// Windows of rates.
pub(super) fn windows(parameters: &Parameters) -> Windows {
    Windows {
        fast_us: parameters.fast_us(),
        slow_us: parameters.slow_us(),
    }
}
