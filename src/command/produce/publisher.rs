//! Publishes signals and keeps each one until JetStream has answered.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use jetstream::{PublishAnswer, Ticket};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::pace::RateLimiter;
use super::progress::ProgressLine;
use super::report::ProduceReport;
use super::source::{Outgoing, OutgoingBatch, SourceError};
use super::window::{Pending, PublishWindow};

use crate::command::log_lines::PUBLISHED;

const TICK: Duration = Duration::from_millis(10);
/// Interval of checking the window for late answers.
const SWEEP: Duration = Duration::from_millis(100);
/// Temporary rejections of a signal before the final one: about 15 seconds.
const REFUSALS_MAX: u32 = 8;

/// Reason for which publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The client has no connection and does not reconnect.
    #[error("the connection to NATS is closed")]
    Closed,
    /// The signals ended with an error.
    #[error(transparent)]
    Source(#[from] SourceError),
}

pub(super) struct SignalPublisher {
    client: Client,
    answers: Subscriber,
    inbox: String,
    window: PublishWindow,
    timeout: Duration,
    swept_at: Instant,
    /// Number of connections so far, to detect a new one.
    connects: u64,
    progress: ProgressLine,
    report: ProduceReport,
}

impl SignalPublisher {
    /// Creates a publisher with at most `window` unanswered signals, each of which it publishes
    /// again when its answer takes longer than `timeout`.
    pub(super) async fn new(
        client: Client,
        window: usize,
        timeout: Duration,
        progress: ProgressLine,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        let connects = client.statistics().connects.load(Ordering::Relaxed);
        Ok(Self {
            client,
            answers,
            inbox,
            window: PublishWindow::new(window),
            timeout,
            swept_at: Instant::now(),
            connects,
            progress,
            report: ProduceReport::default(),
        })
    }

    /// Publishes all signals until the source ends or `shutdown`, and waits for the answers; after
    /// `shutdown` no longer than `grace`.
    pub(super) async fn run(
        mut self,
        mut batches: mpsc::Receiver<Result<OutgoingBatch, SourceError>>,
        per_second: u64,
        shutdown: &CancellationToken,
        grace: Duration,
    ) -> (ProduceReport, Option<PublishError>) {
        let start = Instant::now();
        let ended = tokio::select! {
            // Publishing waits as long as NATS is down, which must not delay a shutdown.
            biased;
            () = shutdown.cancelled() => None,
            ended = self.publish_all(&mut batches, per_second) => Some(ended),
        };
        self.report.stopped = ended.is_none();
        if !self.window.is_empty() {
            let stop = async {
                shutdown.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                biased;
                ended = self.wait_for_answers() => {
                    if let Err(error) = ended {
                        warn!(%error, "Stopped waiting for answers");
                    }
                }
                () = stop => {}
            }
        }
        self.report.unconfirmed = self.window.len() as u64;
        self.report.elapsed = start.elapsed();
        self.progress.finish(&self.report);
        (self.report, ended.and_then(Result::err))
    }

    async fn publish_all(
        &mut self,
        batches: &mut mpsc::Receiver<Result<OutgoingBatch, SourceError>>,
        per_second: u64,
    ) -> Result<(), PublishError> {
        let mut pace = RateLimiter::new(per_second, Instant::now());
        let mut queue: VecDeque<Outgoing> = VecDeque::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(answer) = self.answers.next().now_or_never() {
                self.take_answer(answer)?;
            }
            while self.window.has_room()
                && pace.allows()
                && let Some(outgoing) = queue.pop_front()
            {
                pace.spend();
                self.publish_first(outgoing).await?;
            }
            tokio::select! {
                batch = batches.recv(), if queue.is_empty() => match batch {
                    Some(batch) => self.take_batch(batch?, &mut queue),
                    None => return Ok(()),
                },
                answer = self.answers.next() => self.take_answer(answer)?,
                _ = tick.tick() => {
                    pace.grant(Instant::now());
                    self.sweep().await?;
                }
            }
        }
    }

    async fn wait_for_answers(&mut self) -> Result<(), PublishError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.window.is_empty() {
            tokio::select! {
                answer = self.answers.next() => self.take_answer(answer)?,
                _ = tick.tick() => self.sweep().await?,
            }
        }
        Ok(())
    }

    fn take_batch(&mut self, batch: OutgoingBatch, queue: &mut VecDeque<Outgoing>) {
        self.report.blank_lines += batch.blank_lines;
        for reason in batch.rejected {
            self.reject(reason);
        }
        queue.extend(batch.messages);
    }

    async fn publish_first(&mut self, outgoing: Outgoing) -> Result<(), PublishError> {
        let ticket = self.window.insert(outgoing.clone(), Instant::now());
        self.send(ticket, outgoing).await
    }

    /// Publishes a signal of the window, and settles it if it can never be published.
    async fn send(&mut self, ticket: Ticket, outgoing: Outgoing) -> Result<(), PublishError> {
        let reply = format!("{}.{}", self.inbox, ticket.to_token());
        let Outgoing { subject, body, .. } = outgoing;
        let sent = match outgoing.id.headers() {
            Some(headers) => {
                self.client
                    .publish_with_reply_and_headers(subject, reply, headers, body)
                    .await
            }
            None => self.client.publish_with_reply(subject, reply, body).await,
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::Send => Err(PublishError::Closed),
            Err(error) => {
                if let Some(pending) = self.window.settle(ticket) {
                    self.reject(format!("{}: {error}", pending.outgoing.origin));
                }
                Ok(())
            }
        }
    }

    fn take_answer(&mut self, message: Option<Message>) -> Result<(), PublishError> {
        let message = message.ok_or(PublishError::Closed)?;
        let Some(ticket) = Ticket::from_subject(&message.subject) else {
            return Ok(());
        };
        match PublishAnswer::parse(&message) {
            PublishAnswer::Stored {
                sequence,
                duplicate,
                ..
            } => {
                if let Some(pending) = self.window.settle(ticket) {
                    self.accepted(&pending, sequence, duplicate);
                }
            }
            PublishAnswer::Full(reason) | PublishAnswer::NotNow(reason) => {
                self.refused(ticket, &reason)
            }
            PublishAnswer::Never(reason) => {
                if let Some(pending) = self.window.settle(ticket) {
                    self.reject(format!("{}: {reason}", pending.outgoing.origin));
                }
            }
        }
        Ok(())
    }

    fn accepted(&mut self, pending: &Pending, sequence: u64, duplicate: bool) {
        let Outgoing {
            subject,
            id,
            body,
            invalid,
            ..
        } = &pending.outgoing;
        debug!(
            %subject,
            sequence,
            trace_id = %id,
            duplicate,
            "{PUBLISHED}"
        );
        // After a second attempt, the duplicate is the signal that the first one stored.
        if duplicate && pending.tries == 1 {
            self.report.duplicates += 1;
        } else {
            self.report.accepted += 1;
            self.report.bytes += body.len() as u64;
            self.report.invalid += u64::from(*invalid);
        }
    }

    /// Retries later, since the server may then accept it; gives up after several rejections.
    fn refused(&mut self, ticket: Ticket, reason: &str) {
        if !self.window.refuse(ticket, REFUSALS_MAX, Instant::now())
            && let Some(pending) = self.window.settle(ticket)
        {
            self.reject(format!(
                "{}: {reason}, {} times",
                pending.outgoing.origin, pending.refusals
            ));
        } else {
            debug!(reason, "JetStream rejected a signal for now");
        }
    }

    fn reject(&mut self, reason: String) {
        if self.report.reasons.is_empty() {
            warn!(reason, "Signal not accepted; further ones are only counted");
        }
        self.report.reject(reason);
    }

    /// Publishes due signals again, and shows the progress.
    async fn sweep(&mut self) -> Result<(), PublishError> {
        let now = Instant::now();
        if now.saturating_duration_since(self.swept_at) < SWEEP {
            return Ok(());
        }
        self.swept_at = now;
        self.progress.show(&self.report, self.window.len(), now);
        let late = self.window.expire(self.timeout, now);
        if late > 0 {
            warn!(
                signals = late,
                timeout_ms = self.timeout.as_millis(),
                "No answer from JetStream in time; publishing again"
            );
        }
        // While NATS is down, the client would queue them again and again.
        if self.client.connection_state() != State::Connected {
            return Ok(());
        }
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        if connects != self.connects {
            self.connects = connects;
            self.window.reconnected(now);
        }
        for ticket in self.window.due(now) {
            if let Some(outgoing) = self.window.try_again(ticket, now) {
                self.report.republished += 1;
                self.send(ticket, outgoing).await?;
            }
        }
        Ok(())
    }
}
