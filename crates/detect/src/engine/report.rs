//! Anomaly from weighed evidence.

use crate::anomaly::{Anomaly, AnomalyId, Share, severity};
use crate::detector::{Cause, Detector};
use crate::engine::state::State;
use crate::engine::weigh::{Subjects, Weighed};
use crate::finding::{Figure, Unit};

/// Positions of evidence at most.
const EVIDENCE_MAX: usize = 8;
/// Least share that is reported.
const SHARE_MIN: f64 = 0.01;

impl State {
    /// Describes a signal that is an anomaly.
    pub fn report(
        &self,
        position: u64,
        at_us: i64,
        subjects: &Subjects,
        weighed: &Weighed,
        version: u32,
    ) -> Anomaly {
        let detector = weighed.strongest();
        let nothing = Figure {
            unit: Unit::Probability,
            expected: 0.0,
            observed: weighed.probability,
        };
        let finding = weighed.findings[detector as usize];
        Anomaly {
            id: AnomalyId::new(version, position),
            at_us,
            score: weighed.probability,
            tail: self.budget.tail(weighed.odds()).unwrap_or(1.0),
            severity: severity(weighed.probability),
            detector,
            event_type: weighed
                .rate_of
                .clone()
                .filter(|_| detector == Detector::TypeRate),
            figure: finding.map_or(nothing, |finding| finding.figure.readable()),
            shares: shares(weighed),
            evidence: self.evidence(position, subjects, weighed, detector.cause()),
        }
    }

    fn evidence(
        &self,
        position: u64,
        subjects: &Subjects,
        weighed: &Weighed,
        cause: Cause,
    ) -> Vec<u64> {
        let mut positions = vec![position];
        let findings = weighed.findings.iter().zip(&weighed.evidence);
        let speaking = findings.filter(|(_, evidence)| **evidence > 0.0);
        positions.extend(speaking.filter_map(|(finding, _)| finding.map(|one| one.evidence)));
        let recent = match (cause, subjects.wallet, subjects.counterparty) {
            (Cause::Wallet, Some(wallet), _) => self.recent.of_wallet(wallet, EVIDENCE_MAX),
            (Cause::Counterparty, _, Some(party)) => {
                self.recent.of_counterparty(party, EVIDENCE_MAX)
            }
            _ => Vec::new(),
        };
        positions.extend(recent);
        positions.retain(|one| *one > 0);
        positions.sort_unstable_by(|one, other| other.cmp(one));
        positions.dedup();
        positions.truncate(EVIDENCE_MAX);
        positions
    }
}

fn shares(weighed: &Weighed) -> Vec<Share> {
    let weights = weighed.weights();
    let sum: f64 = weights.iter().sum();
    let mut shares: Vec<Share> = Detector::ALL
        .iter()
        .map(|detector| Share {
            detector: *detector,
            share: weights[*detector as usize] / sum.max(1e-12),
        })
        .filter(|share| share.share >= SHARE_MIN)
        .collect();
    let kept: f64 = shares.iter().map(|share| share.share).sum();
    for share in &mut shares {
        share.share /= kept.max(1e-12);
    }
    // Stable, so equal shares keep the order of the detectors.
    shares.sort_by(|one, other| other.share.total_cmp(&one.share));
    shares
}
