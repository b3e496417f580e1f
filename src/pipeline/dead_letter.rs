//! The side exit: what cannot land goes to the stream of dead letters, with the reason.

mod reason;
mod retry;

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use time::OffsetDateTime;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::backoff::Backoff;
use crate::capacity::Refusals;
use crate::dead_letter::{Letter, NotStored, Original, Prefixes, Verdict};
use crate::fault_point::{FaultPoints, Point};
use crate::jetstream::topology::ensure_dead_letter_stream;
use crate::settings::Settings;
use crate::telemetry::events;
use crate::telemetry::traces::{LetterTrace, Traces};

use super::delivery::Delivery;
use super::in_flight::Lease;
use super::pulse::Pulse;
pub(super) use reason::{Reason, Refusal};
use retry::Retries;

/// The shortest time between two looks at the stream, while letters cannot be stored.
const STREAM_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A message that cannot land, and why.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The message.
    pub delivery: Delivery,
    /// Why it cannot land.
    pub reason: Reason,
}

/// The dead letters of one claim, as their stream acknowledges them.
#[derive(Debug, Clone)]
pub(super) struct Letters {
    stored: Arc<StdMutex<Vec<DeadLettered>>>,
    all: usize,
    changed: Arc<Notify>,
}

impl Letters {
    /// So many, none of which is stored yet.
    pub fn new(all: usize) -> Self {
        Self {
            stored: Arc::default(),
            all,
            changed: Arc::default(),
        }
    }

    /// Waits until all are stored.
    pub async fn all(self) -> Vec<DeadLettered> {
        loop {
            if let Some(stored) = self.take() {
                return stored;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Vec<DeadLettered>> {
        let mut stored = self.lock();
        (stored.len() >= self.all).then(|| std::mem::take(&mut *stored))
    }

    fn add(&self, letter: DeadLettered) {
        self.lock().push(letter);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<DeadLettered>> {
        // No code panics while it holds the lock.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dead letter that its stream has acknowledged. Made only where that answer arrives, so
/// that nothing else can be acked.
#[derive(Debug)]
pub(super) struct DeadLettered {
    lease: Lease,
    event: events::DeadLettered,
}

impl DeadLettered {
    fn new(rejected: Rejected, sequence: u64) -> Self {
        let Rejected { delivery, reason } = rejected;
        Self {
            event: events::DeadLettered {
                reason: reason.code(),
                error: reason.public(),
                subject: delivery.subject.to_string(),
                stream_seq: delivery.position.stream_seq,
                dead_letter_seq: sequence,
            },
            lease: delivery.lease,
        }
    }

    /// What to tell of it.
    pub fn event(&self) -> &events::DeadLettered {
        &self.event
    }

    /// The lease, to be settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

/// A message whose letter is to be stored.
#[derive(Debug)]
struct Attempt {
    rejected: Rejected,
    /// Where the letter goes once it is stored.
    letters: Letters,
    trace: LetterTrace,
    backoff: Backoff,
}

/// What the stage goes on with.
enum Next {
    Rejected(Option<(Rejected, Letters)>),
    Due,
    Tried(Attempt, Result<u64, NotStored>),
}

/// The stage that publishes dead letters.
pub(super) struct DeadLetter {
    pub context: Context,
    pub settings: Arc<Settings>,
    pub refusals: Refusals,
    pub max_payload: usize,
    pub rejects: Receiver<(Rejected, Letters)>,
    pub backoff: Backoff,
    pub traces: Traces,
    pub faults: FaultPoints,
    pub pulse: Pulse,
}

/// What each letter is published with.
#[derive(Clone)]
struct Publisher {
    context: Context,
    settings: Arc<Settings>,
    max_payload: usize,
    faults: FaultPoints,
    pulse: Pulse,
    stream: Arc<Mutex<StreamLook>>,
}

/// The last look at the stream of dead letters, after a letter was not stored.
#[derive(Debug, Default)]
struct StreamLook {
    at: Option<Instant>,
    error: Option<String>,
}

impl DeadLetter {
    /// Publishes until the stages before it have ended and every letter is acknowledged. One
    /// that cannot be stored waits aside for its next try.
    pub async fn run(mut self) {
        let publisher = Publisher {
            context: self.context.clone(),
            settings: Arc::clone(&self.settings),
            max_payload: self.max_payload,
            faults: self.faults.clone(),
            pulse: self.pulse.clone(),
            stream: Arc::default(),
        };
        let mut pending = FuturesUnordered::new();
        let mut retries = Retries::new();
        let mut more = true;
        while more || !pending.is_empty() || !retries.is_empty() {
            self.pulse.step();
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
                self.pulse.waiting(next).await
            } else {
                next.await
            };
            match next {
                Next::Rejected(Some((rejected, letters))) => {
                    pending.push(publisher.clone().publish(self.attempt(rejected, letters)));
                }
                Next::Rejected(None) => more = false,
                Next::Due => {
                    let attempt = retries.take_due();
                    pending.extend(attempt.map(|attempt| publisher.clone().publish(attempt)));
                }
                Next::Tried(attempt, Ok(sequence)) => {
                    self.refusals.taken(&self.settings.dead_letters.name);
                    retries.stored(attempt.rejected.delivery.position.stream_seq);
                    attempt.trace.stored(sequence);
                    let letter = DeadLettered::new(attempt.rejected, sequence);
                    attempt.letters.add(letter);
                }
                Next::Tried(attempt, Err(error)) => {
                    // Any other error is about this letter alone.
                    if let NotStored::Publish(source) = &error {
                        let stream = &self.settings.dead_letters.name;
                        self.refusals.refused(stream, source.to_string());
                    }
                    retries.failed(attempt, &error);
                }
            }
        }
    }

    fn attempt(&self, rejected: Rejected, letters: Letters) -> Attempt {
        let Rejected { delivery, reason } = &rejected;
        let headers = delivery.headers.as_ref();
        let (code, error) = (reason.code(), reason.public());
        let trace = self
            .traces
            .dead_letter(headers, &delivery.subject, code, &error);
        Attempt {
            rejected,
            letters,
            trace,
            backoff: self.backoff.clone(),
        }
    }
}

impl Publisher {
    /// Tries once to have the stream keep a letter, and makes the stream where it is gone.
    async fn publish(self, attempt: Attempt) -> (Attempt, Result<u64, NotStored>) {
        self.pulse.step();
        let letter = letter(&attempt.rejected, &self.settings, self.max_payload);
        let name = &self.settings.dead_letters.name;
        let stored = letter.store(&self.context, name).await;
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
        let found = ensure_dead_letter_stream(&self.context, &self.settings).await;
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

/// The letter for a message.
fn letter(rejected: &Rejected, settings: &Settings, max_payload: usize) -> Letter {
    let Rejected { delivery, reason } = rejected;
    let verdict = Verdict {
        code: reason.code(),
        error: reason.to_string(),
        at: OffsetDateTime::now_utc(),
    };
    letter_of(delivery, &verdict, settings, max_payload)
}

/// The subject on which the stream of dead letters has the letter of a message, or its first part.
pub(super) fn letter_subject(
    delivery: &Delivery,
    settings: &Settings,
    max_payload: usize,
) -> String {
    // The verdict has no part in it.
    let verdict = Verdict {
        code: "",
        error: String::new(),
        at: OffsetDateTime::UNIX_EPOCH,
    };
    letter_of(delivery, &verdict, settings, max_payload).first_subject()
}

fn letter_of(
    delivery: &Delivery,
    verdict: &Verdict,
    settings: &Settings,
    max_payload: usize,
) -> Letter {
    let headers = delivery.headers.clone().unwrap_or_default();
    let table = settings.clickhouse.full_table();
    let original = Original {
        subject: &delivery.subject,
        headers: delivery
            .unreadable_headers
            .as_deref()
            .map_or_else(|| Ok(&headers), Err),
        body: &delivery.body,
        stream: &settings.stream.name,
        table: &table,
        stream_created_ns: delivery.position.stream_created_ns,
        sequence: delivery.position.stream_seq,
        published_at_ms: delivery.published_at_ms(),
        attempts: delivery.attempt,
    };
    let prefixes = Prefixes {
        letters: &settings.dead_letters.subject_prefix,
        signals: &settings.stream.subject_prefix,
    };
    Letter::new(&original, verdict, prefixes, max_payload)
}
