//! The side exit: messages that cannot land go to the stream of dead letters, with the reason.

mod attempt;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use fault_point::{FaultPoints, Point};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jetstream::dead_letter::NotStored;
use jetstream::dead_letter::StoredDeadLetter;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::capacity::PublishRefusals;
use crate::pipeline::crossing::rejected::DeadLettered;
use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::port::dead_letters::DeadLetterStore;
use crate::pipeline::stage::letter::letter;
use crate::settings::Settings;
use clock::Backoff;
use telemetry::traces::Traces;

use attempt::DeadLetterAttempt;
use retry::Retries;

/// The shortest time between two looks at the stream, while letters cannot be stored.
const STREAM_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Next event of the stage.
enum Next {
    Rejected(Option<(Rejected, ClaimDeadLetters)>),
    Due,
    Tried(DeadLetterAttempt, Result<StoredDeadLetter, NotStored>),
}

/// The stage that publishes dead letters.
pub struct DeadLetterStage {
    pub dead_letters: Arc<dyn DeadLetterStore>,
    pub settings: Arc<Settings>,
    pub refusals: PublishRefusals,
    pub max_payload: usize,
    pub rejects: Receiver<(Rejected, ClaimDeadLetters)>,
    pub backoff: Backoff,
    pub traces: Traces,
    pub faults: FaultPoints,
    pub heartbeat: Heartbeat,
}

/// Publisher of each letter.
#[derive(Clone)]
struct Publisher {
    dead_letters: Arc<dyn DeadLetterStore>,
    settings: Arc<Settings>,
    max_payload: usize,
    faults: FaultPoints,
    heartbeat: Heartbeat,
    stream: Arc<Mutex<StreamLook>>,
}

/// The last look at the stream of dead letters, after a letter was not stored.
#[derive(Debug, Default)]
struct StreamLook {
    at: Option<Instant>,
    error: Option<String>,
}

impl DeadLetterStage {
    /// Publishes until the stages before it have ended and every letter is acknowledged. One
    /// that cannot be stored waits aside for its next try.
    pub async fn run(mut self) {
        let publisher = Publisher {
            dead_letters: Arc::clone(&self.dead_letters),
            settings: Arc::clone(&self.settings),
            max_payload: self.max_payload,
            faults: self.faults.clone(),
            heartbeat: self.heartbeat.clone(),
            stream: Arc::default(),
        };
        let mut pending = FuturesUnordered::new();
        let mut retries = Retries::new();
        let mut more = true;
        while more || !pending.is_empty() || !retries.is_empty() {
            self.heartbeat.step();
            debug_assert!(
                pending.len() <= self.settings.dead_letters.max_pending,
                "no more are published at once than dead_letters.max_pending"
            );
            let is_idle = pending.is_empty();
            let has_room = pending.len() < self.settings.dead_letters.max_pending;
            let due = retries.next();
            let next = async {
                tokio::select! {
                    rejected = self.rejects.recv(), if more && has_room => Next::Rejected(rejected),
                    () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && has_room => Next::Due,
                    Some((attempt, stored)) = pending.next(), if !pending.is_empty() => Next::Tried(attempt, stored),
                }
            };
            let next = if is_idle {
                self.heartbeat.waiting(next).await
            } else {
                next.await
            };
            match next {
                // Their leases have the messages delivered again, which the log says are done.
                Next::Rejected(Some((_, letters))) if letters.are_over() => {}
                Next::Rejected(Some((rejected, letters))) => {
                    pending.push(publisher.clone().publish(self.attempt(rejected, letters)));
                }
                Next::Rejected(None) => more = false,
                Next::Due => {
                    let attempt = retries.take_due();
                    pending.extend(attempt.map(|attempt| publisher.clone().publish(attempt)));
                }
                Next::Tried(attempt, Ok(stored)) => {
                    self.refusals.note_success(&self.settings.dead_letters.name);
                    retries.stored(attempt.rejected.delivery.position.stream_seq);
                    attempt.trace.stored(stored.sequence());
                    let letter = DeadLettered::new(attempt.rejected, &stored);
                    attempt.letters.add(letter);
                }
                Next::Tried(attempt, Err(error)) => {
                    // Any other error is about this letter alone.
                    if let NotStored::Publish(source) = &error {
                        let stream = &self.settings.dead_letters.name;
                        debug!(stream, words = %source, "JetStream's own words");
                        self.refusals.note_refusal(stream, error.to_string());
                    }
                    retries.failed(attempt, &error);
                }
            }
        }
    }

    fn attempt(&self, rejected: Rejected, letters: ClaimDeadLetters) -> DeadLetterAttempt {
        let Rejected { delivery, reason } = &rejected;
        let headers = delivery.headers();
        let (code, error) = (reason.code(), reason.public());
        let trace = self
            .traces
            .dead_letter(headers.as_ref(), &delivery.subject(), code, &error);
        DeadLetterAttempt {
            rejected,
            letters,
            trace,
            backoff: self.backoff.clone(),
        }
    }
}

impl Publisher {
    /// Tries once to have the stream keep a letter, and makes the stream where it is gone.
    async fn publish(
        self,
        attempt: DeadLetterAttempt,
    ) -> (DeadLetterAttempt, Result<StoredDeadLetter, NotStored>) {
        self.heartbeat.step();
        let letter = letter(&attempt.rejected, &self.settings, self.max_payload);
        let stored = self.dead_letters.store(&letter).await;
        match &stored {
            Ok(_) => self.faults.reached(Point::LetterPublished).await,
            Err(_) => self.look_after_stream().await,
        }
        (attempt, stored)
    }

    /// Makes the stream where it is gone, for all letters at once.
    async fn look_after_stream(&self) {
        // Another letter has it looked at.
        let Ok(mut last) = self.stream.try_lock() else {
            return;
        };
        if last
            .at
            .is_some_and(|at| at.elapsed() < STREAM_LOOK_INTERVAL)
        {
            return;
        }
        let found = self.dead_letters.ensure().await;
        let error = found.err().map(|error| error.to_string());
        if let Some(error) = error
            .as_ref()
            .filter(|error| last.error.as_ref() != Some(error))
        {
            warn!(%error, "The stream of dead letters is not available");
        }
        *last = StreamLook {
            at: Some(Instant::now()),
            error,
        };
    }
}

#[cfg(test)]
mod tests;
