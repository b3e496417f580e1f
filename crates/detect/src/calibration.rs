//! Evidence of unlike detectors on one scale, each calibrated to its own tail.

use serde::{Deserialize, Serialize};

use crate::detector::{Cause, DETECTORS, Detector};
use crate::finding::Finding;
use crate::odds::ln_bayes_factor;
use crate::tail::Tail;

/// Findings of all detectors about one signal, in the order of [`Detector::ALL`].
pub type Findings = [Option<Finding>; DETECTORS];

/// Evidence of each detector about one signal: ln of its Bayes factor, 0 without a finding.
pub type Evidence = [f64; DETECTORS];

/// Tails of all detectors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Calibration {
    tails: Vec<Tail>,
}

impl Default for Calibration {
    fn default() -> Self {
        Self {
            tails: vec![Tail::default(); DETECTORS],
        }
    }
}

impl Calibration {
    /// Evidence of findings.
    pub fn evidence(&self, findings: &Findings, shape: f64) -> Evidence {
        let mut evidence = [0.0; DETECTORS];
        for (detector, finding) in Detector::ALL.into_iter().zip(findings) {
            let tail = &self.tails[detector as usize];
            let tail = finding.and_then(|finding| tail.probability(finding.score));
            // The factor falls below 1 where the tail exceeds its shape: most need no logarithm.
            let counts = |tail: &f64| *tail < shape || detector.speaks_against();
            if let Some(tail) = tail.filter(counts) {
                evidence[detector as usize] = ln_bayes_factor(tail, shape);
            }
        }
        evidence
    }

    /// Tail probability of a detector's finding; `None` without one and in the warm-up.
    pub fn tail(&self, detector: Detector, findings: &Findings) -> Option<f64> {
        let finding = findings[detector as usize]?;
        self.tails[detector as usize].probability(finding.score)
    }

    /// Adds the scores of findings.
    pub fn add(&mut self, findings: &Findings) {
        for (finding, tail) in findings.iter().zip(&mut self.tails) {
            if let Some(finding) = finding {
                tail.add(finding.score);
            }
        }
    }

    /// Forgets a share of what was added.
    pub fn decay(&mut self, factor: f64) {
        for tail in &mut self.tails {
            tail.decay(factor);
        }
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        self.tails.len() == DETECTORS && self.tails.iter().all(Tail::is_sound)
    }
}

/// Evidence for a cause: the weighted sum over its detectors; `None` without a finding.
///
/// The detectors of a cause see the same deed from several sides, so their evidence is not
/// independent: the weights make up for that. Usual amounts speak against a cause; that other
/// detectors found nothing does not.
pub fn of_cause(cause: Cause, findings: &Findings, evidence: &Evidence) -> Option<f64> {
    let mut sum = None::<f64>;
    for detector in Detector::ALL {
        if detector.cause() == cause && findings[detector as usize].is_some() {
            let one = evidence[detector as usize];
            let one = if detector.speaks_against() {
                one
            } else {
                one.max(0.0)
            };
            *sum.get_or_insert(0.0) += detector.weight() * one;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Unit;

    #[test]
    fn a_loud_detector_does_not_crowd_out_a_quiet_one() {
        let mut calibration = Calibration::default();
        let findings = |loud: f64, quiet: f64| {
            let mut findings = Findings::default();
            for (detector, score) in [(Detector::Amount, loud), (Detector::Rate, quiet)] {
                let finding = Finding::new(score, Unit::Number, 0.0, score);
                findings[detector as usize] = Some(finding);
            }
            findings
        };
        for number in 0..10_000 {
            let score = f64::from(number % 1_000);
            calibration.add(&findings(score, score / 500.0));
        }
        let evidence = calibration.evidence(&findings(500.0, 1.999), 0.1);
        assert!(evidence[Detector::Amount as usize] < 0.0);
        assert!(evidence[Detector::Rate as usize] > 1.0);
    }

    #[test]
    fn evidence_is_weighed_and_only_amounts_speak_against() {
        let finding = Some(Finding::new(0.0, Unit::Number, 0.0, 0.0));
        let (mut findings, mut evidence) = (Findings::default(), [0.0; DETECTORS]);
        assert_eq!(of_cause(Cause::Wallet, &findings, &evidence), None);
        for (detector, one) in [
            (Detector::Amount, -1.0),
            (Detector::Peeling, 3.0),
            (Detector::Fan, -1.0),
        ] {
            findings[detector as usize] = finding;
            evidence[detector as usize] = one;
        }
        assert_eq!(of_cause(Cause::Wallet, &findings, &evidence), Some(2.0));
    }
}
