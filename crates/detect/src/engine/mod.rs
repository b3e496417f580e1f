//! The engine: states, and the order in which a signal passes them.

mod learn;
mod report;
mod state;
mod weigh;

pub use state::Counts;
pub(crate) use state::State;

use crate::anomaly::Anomaly;
use crate::detector::{DETECTORS, Detector};
use crate::engine::weigh::{Subjects, Weighed};
use crate::feedback::{Feedback, Heard};
use crate::observation::Observation;
use crate::parameters::{ParameterFaults, Parameters};
use crate::time::{days_us, seconds_us};

/// Finds anomalies in a stream.
#[derive(Debug)]
pub struct Engine {
    parameters: Parameters,
    version: u32,
    on: [bool; DETECTORS],
    state: State,
}

/// Position that does not follow the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "position {position} does not follow {last}; the engine takes a stream in its order, so start from a snapshot before it"
)]
pub struct OutOfOrder {
    /// Position that came.
    pub position: u64,
    /// Last position that was taken.
    pub last: u64,
}

/// Parameters that the engine cannot change to.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// They are faulty.
    #[error("faulty parameters of the detector: {0}")]
    Faulty(#[from] ParameterFaults),
    /// The memory of pairs has a fixed size.
    #[error("capacity.pairs cannot change while the state is kept; start without the snapshot")]
    PairsFixed,
    /// The position does not follow the last one.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

impl Engine {
    /// Creates an engine before the first signal.
    ///
    /// # Errors
    /// Fails with every fault of the parameters.
    pub fn new(parameters: Parameters) -> Result<Self, ParameterFaults> {
        parameters.validate()?;
        let state = State::new(&parameters);
        Ok(Self::with_state(parameters, state))
    }

    /// Joins parameters with the state of a snapshot.
    pub(crate) fn with_state(parameters: Parameters, state: State) -> Self {
        Self {
            version: parameters.version(),
            on: parameters.on(),
            parameters,
            state,
        }
    }

    /// Takes the next signal, and returns its anomaly if it is one.
    ///
    /// # Errors
    /// Fails, without an effect, unless the position is above all before.
    pub fn observe(&mut self, signal: &Observation<'_>) -> Result<Option<Anomaly>, OutOfOrder> {
        self.advance(signal.position)?;
        let parameters = &self.parameters;
        let moment = self.state.time.advance(
            signal.event_us,
            signal.stored_us,
            seconds_us(parameters.skew_s),
            seconds_us(parameters.lateness_s),
        );
        self.state.begin_days(parameters);
        self.state.counts.signals += 1;
        self.state.counts.late += u64::from(moment.is_late);
        let subjects = Subjects::of(signal);
        let weighed = self
            .state
            .weigh(signal, &subjects, moment, parameters, &self.on);
        let is_open = self.state.time.span_us() >= days_us(parameters.warmup_days);
        let passes = self
            .state
            .budget
            .take(weighed.odds(), parameters.budget, is_open);
        let is_anomaly = passes
            && weighed.probability >= parameters.probability_min
            && !self.is_quiet(&subjects, &weighed);
        // The anomaly is described by the states before the signal counts.
        let anomaly = is_anomaly.then(|| {
            let moment_us = moment.at_us;
            self.state.report(
                signal.position,
                moment_us,
                &subjects,
                &weighed,
                self.version,
            )
        });
        if let Some(anomaly) = &anomaly {
            self.state.budget.spend();
            self.state.counts.anomalies += 1;
            let until_us = moment.at_us + seconds_us(parameters.quiet_minutes * 60.0);
            let subject = subjects.of_cause(anomaly.detector.cause());
            let quiet = &mut self.state.quiet;
            quiet.begin(subject, anomaly.detector, until_us, weighed.odds());
        }
        self.state
            .learn(signal, &subjects, moment, &weighed, parameters);
        Ok(anomaly)
    }

    /// Takes the next signal, which is feedback. It counts only from an allowed origin.
    ///
    /// # Errors
    /// Fails, without an effect, unless the position is above all before.
    pub fn feedback(&mut self, feedback: &Feedback<'_>) -> Result<Heard, OutOfOrder> {
        self.advance(feedback.position)?;
        let mut origins = self.parameters.origins.iter();
        if !origins.any(|origin| origin == feedback.origin) {
            self.state.counts.unknown_origins += 1;
            return Ok(Heard::UnknownOrigin);
        }
        let heard = self.state.hear(feedback, &self.parameters);
        self.state.counts.feedback += u64::from(heard == Heard::Counted);
        Ok(heard)
    }

    /// Takes the next signal, which changes the parameters from its position on.
    ///
    /// # Errors
    /// Fails, without an effect, for faulty parameters, for another `capacity.pairs`, and unless
    /// the position is above all before.
    pub fn adopt(&mut self, position: u64, parameters: Parameters) -> Result<(), AdoptError> {
        parameters.validate()?;
        if parameters.capacity.pairs != self.parameters.capacity.pairs {
            return Err(AdoptError::PairsFixed);
        }
        self.advance(position)?;
        self.state.set_capacity(&parameters.capacity);
        self.version = parameters.version();
        self.on = parameters.on();
        self.parameters = parameters;
        Ok(())
    }

    /// Takes a signal that no detector looks at, such as an anomaly.
    ///
    /// # Errors
    /// Fails, without an effect, unless the position is above all before.
    pub fn pass(&mut self, position: u64) -> Result<(), OutOfOrder> {
        self.advance(position)
    }

    /// Last position that was taken; 0 before the first.
    pub fn position(&self) -> u64 {
        self.state.position
    }

    /// Parameters in force.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Version of the rules and parameters in force, as in the anomalies' identifiers.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Figures of the engine, for metrics.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    fn advance(&mut self, position: u64) -> Result<(), OutOfOrder> {
        let last = self.state.position;
        if position <= last {
            return Err(OutOfOrder { position, last });
        }
        self.state.position = position;
        Ok(())
    }

    fn is_quiet(&self, subjects: &Subjects, weighed: &Weighed) -> bool {
        let (detector, odds) = (weighed.strongest(), weighed.odds());
        let subject = subjects.of_cause(Detector::cause(detector));
        let quiet = &self.state.quiet;
        quiet.holds(subject, detector, weighed.at_us, odds, self.parameters.rise)
    }
}
