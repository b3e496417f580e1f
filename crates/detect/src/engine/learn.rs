//! States after a signal, and after feedback.

use crate::amount::Direction;
use crate::calibration::{Findings, of_cause};
use crate::chance::{Belief, Chance};
use crate::detector::{Cause, Detector};
use crate::engine::state::State;
use crate::engine::weigh::{Subjects, Weighed, windows};
use crate::facts::Facts;
use crate::feedback::{About, Feedback, Heard, Verdict};
use crate::key::Key;
use crate::observation::Observation;
use crate::odds;
use crate::parameters::Parameters;
use crate::table::Table;
use crate::time::{Moment, remaining};

/// Bayes factor of feedback about a wallet or a counterparty as a whole.
const SUBJECT_FACTOR: f64 = 1_000.0;

/// Share of confirmed frauds by the wallet that are the first of several.
const REPEATED: f64 = 0.02;

impl State {
    /// Counts a signal in every state that it touches.
    pub fn learn(
        &mut self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        moment: Moment,
        weighed: &Weighed,
        parameters: &Parameters,
    ) {
        let (Some(wallet), Some(flow)) = (subjects.wallet, subjects.flow) else {
            return;
        };
        let Some(facts) = &weighed.facts else { return };
        self.suspect(wallet, moment.at_us, weighed.wallet_factor, parameters);
        let state = self.wallets.state(flow);
        state.count(moment, signal.position, &facts.wallet, facts.is_new);
        if let Some(ln) = facts.ln {
            state.add_amount(ln, facts.wallet.spread);
            let own = facts.above_wallet().map(|_| ln - facts.wallet.mean);
            self.assets.state(subjects.asset).add(ln, own);
        }
        if let (Some(key), Some(before)) = (subjects.counterparty, &facts.counterparty) {
            let unusual = weighed.amount_tail.map(|tail| -libm::log(tail));
            let party = self.counterparties.state(key);
            party.count(moment, signal.position, before, facts.is_new, unusual);
        }
        let receiver = match signal.direction {
            Direction::Out => subjects.counterparty,
            Direction::In => Some(wallet),
        };
        if let (Some(receiver), Some(ln)) = (receiver, facts.ln) {
            let depth = Detector::links(facts);
            let tag = subjects.asset.tag();
            let state = self.counterparties.state(receiver);
            state.receive(moment, signal.position, ln, tag, depth);
        }
        self.recent
            .add(signal.position, Some(wallet), subjects.counterparty);
    }

    /// Raises the chance that a wallet is compromised by its own unusual signals, and lowers a
    /// raised one by usual signals.
    fn suspect(&mut self, wallet: Key, at_us: i64, factor: f64, parameters: &Parameters) {
        let belief = parameters.wallets();
        let factor = 1.0 - belief.hit_rate + belief.hit_rate * factor;
        let is_suspect = self.suspect_wallets.get(wallet).is_some();
        if is_suspect || factor > 2.0 {
            let chance = self.suspect_wallets.state(wallet);
            // Usual signals say no more than that nothing is known.
            let now = chance.at(at_us, &belief);
            if factor > 1.0 || now > belief.prior {
                chance.update(at_us, factor.max(belief.prior / now.max(1e-9)), &belief);
            }
        }
    }

    /// Counts feedback.
    pub fn hear(&mut self, feedback: &Feedback<'_>, parameters: &Parameters) -> Heard {
        let now_us = self.time.newest_us();
        let factor = match feedback.verdict {
            Verdict::Confirmed => SUBJECT_FACTOR,
            Verdict::Cleared => 1.0 / SUBJECT_FACTOR,
        };
        let update = |table: &mut Table<Chance>, address: &str, belief: Belief| {
            if address.is_empty() {
                return Heard::NoSubject;
            }
            table
                .state(Key::address(address))
                .update(now_us, factor, &belief);
            Heard::Counted
        };
        match feedback.about {
            About::Wallet(wallet) => {
                update(&mut self.suspect_wallets, wallet, parameters.wallets())
            }
            About::Counterparty(party) => {
                let belief = parameters.counterparties();
                update(&mut self.suspect_counterparties, party, belief)
            }
            About::Signal(signal) => self.hear_signal(signal, feedback.verdict, parameters),
        }
    }

    /// Counts feedback about a signal, for its wallet and its counterparty.
    ///
    /// Each explains the other away: a fraud with an amount that is usual for the wallet speaks
    /// against the counterparty, and one with an unusual amount against the wallet. Without this,
    /// feedback on our own alerts, which are unusual amounts, would accuse innocent counterparties.
    fn hear_signal(
        &mut self,
        signal: &Observation<'_>,
        verdict: Verdict,
        parameters: &Parameters,
    ) -> Heard {
        let subjects = Subjects::of(signal);
        let now_us = self.time.newest_us();
        let age_us = now_us - signal.event_us.min(signal.stored_us);
        let (wallets, parties) = (parameters.wallets(), parameters.counterparties());
        let factor = self.factor_now(signal, &subjects, parameters);
        let chance = |table: &Table<Chance>, key: Option<Key>, belief: &Belief| {
            let chance = key.and_then(|key| table.get(key)).copied();
            chance.unwrap_or_default().at(now_us, belief)
        };
        let wallet_chance = chance(&self.suspect_wallets, subjects.wallet, &wallets);
        let party_chance = chance(
            &self.suspect_counterparties,
            subjects.counterparty,
            &parties,
        );
        // Rates of fraud for either reason, relative to ordinary signals of this amount.
        // The suspicion that the signal raised by itself has faded since, and counts here in full.
        let raised = 1.0 - wallets.hit_rate + wallets.hit_rate * factor;
        let wallet_chance = wallet_chance.max(odds::updated(wallets.prior, raised));
        let by_wallet = (wallets.hit_rate * wallet_chance).max(parameters.prior) * factor;
        let by_party = parties.hit_rate * party_chance;
        let usual = parameters.prior * factor;
        let (for_wallet, for_party) = match verdict {
            Verdict::Confirmed => (
                1.0 + REPEATED
                    * ((wallets.hit_rate * factor + by_party) / (usual + by_party) - 1.0),
                (parties.hit_rate + (1.0 - parties.hit_rate) * by_wallet) / by_wallet,
            ),
            Verdict::Cleared => (
                1.0 - wallets.hit_rate * factor / (1.0 + factor),
                1.0 - parties.hit_rate,
            ),
        };
        let mut heard = Heard::NoSubject;
        let targets = [
            (
                &mut self.suspect_counterparties,
                subjects.counterparty,
                for_party,
                parties,
            ),
            (
                &mut self.suspect_wallets,
                subjects.wallet,
                for_wallet,
                wallets,
            ),
        ];
        for (table, key, factor, belief) in targets {
            let Some(key) = key else { continue };
            heard = Heard::Counted;
            // A cleared signal of a subject without suspicion is the usual case: nothing to keep.
            if factor > 1.0 || table.get(key).is_some() {
                table
                    .state(key)
                    .update(now_us, faded(factor, age_us, &belief), &belief);
            }
        }
        heard
    }

    /// Bayes factor of a past signal's amounts, by what is known of its wallet now. 1 without an
    /// amount, and in the warm-up.
    fn factor_now(
        &self,
        signal: &Observation<'_>,
        subjects: &Subjects,
        parameters: &Parameters,
    ) -> f64 {
        let ln = signal.amount.and_then(|amount| amount.ln());
        let (Some(flow), Some(ln)) = (subjects.flow, ln) else {
            return 1.0;
        };
        let asset = self.assets.get(subjects.asset).copied().unwrap_or_default();
        let moment = Moment {
            at_us: self.time.newest_us(),
            is_late: true,
        };
        let wallet = self.wallets.get(flow).copied().unwrap_or_default();
        let before = wallet.before(moment, windows(parameters), asset.variance_within());
        let mut findings = Findings::default();
        let above = Facts {
            wallet: before,
            counterparty: None,
            ln: Some(ln),
            above_asset: asset.score(ln),
            asset_mean: asset.mean(),
            is_new: false,
            direction: signal.direction,
            receipt: None,
        };
        for detector in [Detector::Amount, Detector::AssetAmount] {
            findings[detector as usize] = detector.look(&above);
        }
        let evidence = self.calibration.evidence(&findings, parameters.shape);
        of_cause(Cause::Wallet, &findings, &evidence).map_or(1.0, libm::exp)
    }
}

/// Factor of a signal that came `age_us` ago: what was true then may have ended since.
fn faded(factor: f64, age_us: i64, belief: &Belief) -> f64 {
    let left = remaining(age_us, belief.tau_us);
    if factor > 1.0 {
        1.0 + (factor - 1.0) * left
    } else {
        factor
    }
}
