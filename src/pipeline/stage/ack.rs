//! The only place that acks a message: after the claims log says that it is done.
//!
//! A reply is acked only while the source that it came from is the one that is there. Over another
//! connection its sequence may be that of another message, such as after a restore, and its
//! consumer sequence one that the server has forgotten. Then the message is given back: it comes
//! again, the log says that it is done, and it is acked by the reply of that delivery.

use std::sync::Arc;
use std::time::Duration;

use fault_point::{FaultPoints, Point};
use jetstream::{AckPolicy, Subjects};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use crate::pipeline::crossing::ack_subject::AckSubject;
use crate::pipeline::crossing::committed::CommittedBatch;
use crate::pipeline::crossing::in_flight::{InFlight, Lease};
use crate::pipeline::crossing::reply::SettledReplies;
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::crossing::source::{CurrentSource, SignalSource};
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::liveness::keep_alive::give_back;
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::pipeline::port::connection::Replies;
use crate::pipeline::stage::ack_floor::HeldReplies;
use crate::reload::SettingsHandle;
use telemetry::events::EventLog;
use telemetry::happened::Inserted;

const ACK: &[u8] = b"+ACK";

/// Counts of one run of the pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Signals committed to ClickHouse and acked.
    pub inserted: u64,
    /// Signals that were found in ClickHouse already, and acked.
    pub already_stored: u64,
    /// Messages written to the stream of dead letters and acked.
    pub dead_lettered: u64,
}

/// The last stage.
pub struct Ack<R> {
    pub replies: R,
    pub in_force: SettingsHandle,
    pub in_flight: &'static InFlight,
    pub source: CurrentSource,
    pub process: Arc<dyn ClaimsLog>,
    /// Replies that wait for the floor, where an ack covers all before it.
    pub held: HeldAcks,
    pub settled: Receiver<Settled>,
    pub log: EventLog,
    pub faults: FaultPoints,
    pub heartbeat: Heartbeat,
}

/// Next event of the stage.
enum Next {
    Settled(Option<Settled>),
    Summary,
    /// The log was read on, and its floor may have risen.
    Floor,
    /// SIGHUP has changed the settings.
    Changed,
}

/// Replies that wait for the log's floor, all of one source.
#[derive(Debug, Default)]
pub struct HeldAcks {
    source: Option<SignalSource>,
    replies: HeldReplies,
    /// The log's changes when the floor was looked at.
    looked_at: u64,
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl<R: Replies> Ack<R> {
    /// Acks until the stages before it have ended, and then until the server has it all.
    pub async fn run(mut self) -> Totals {
        let mut totals = Totals::default();
        let mut summary = every(self.log.summary_interval());
        loop {
            let next = async {
                tokio::select! {
                    settled = self.settled.recv() => Next::Settled(settled),
                    _ = summary.tick() => Next::Summary,
                    () = self.process.changed(self.held.looked_at), if !self.held.replies.is_empty() => Next::Floor,
                    Ok(()) = self.in_force.changed() => Next::Changed,
                }
            };
            match self.heartbeat.waiting(next).await {
                Next::Settled(Some(settled)) => self.settle(settled, &mut totals).await,
                Next::Settled(None) => break,
                Next::Summary => self.log.summarize(),
                Next::Floor => self.ack_up_to_floor().await,
                Next::Changed => {
                    self.log.set_bounds(&self.in_force.borrow().log);
                    summary = every(self.log.summary_interval());
                }
            }
        }
        self.log.summarize();
        give_back(&self.replies, self.held.replies.take()).await;
        if let Err(error) = self.replies.confirmed().await {
            warn!(%error, "NATS did not confirm the last acks; their messages may be delivered again");
        }
        totals
    }

    async fn settle(&mut self, settled: Settled, totals: &mut Totals) {
        match settled {
            Settled::Committed(batch) => {
                self.report(&batch, totals);
                let trace = batch.trace().ack(batch.len());
                self.ack(batch.into_leases()).await;
                trace.sent();
            }
            Settled::DeadLettered(letter) => {
                totals.dead_lettered += 1;
                self.log.dead_lettered(letter.event());
                self.ack(vec![letter.into_lease()]).await;
            }
            Settled::Logged(logged) => {
                totals.already_stored += logged.len() as u64;
                self.log.already_stored(logged.len());
                self.ack(logged.into_leases()).await;
            }
            Settled::NoLetterNeeded(advisory) => self.ack(vec![advisory.into_lease()]).await,
        }
    }

    fn report(&mut self, batch: &CommittedBatch, totals: &mut Totals) {
        let figures = batch.figures();
        totals.inserted += figures.rows as u64;
        self.log.inserted(&Inserted {
            count: figures.rows,
            total: totals.inserted,
            bytes: figures.bytes,
            duration: figures.duration,
            oldest_published_ms: figures.oldest_published_ms,
            close_reason: figures.close_reason.as_str(),
        });
    }

    /// An ack is a publish without an answer: a lost one means that the message is
    /// delivered again.
    async fn ack(&mut self, leases: Vec<Lease>) {
        let replies = self.in_flight.settle(leases);
        for SettledReplies { source, subjects } in replies {
            // Once for each: the sends before may have waited.
            let current = self.source.get();
            self.hold_of(current).await;
            match source {
                None => self.send_acks(subjects, None).await,
                Some(_) if source != current => give_back(&self.replies, subjects).await,
                Some(of) if of.ack_policy == AckPolicy::Explicit => {
                    self.send_acks(subjects, current).await;
                }
                Some(_) => {
                    for subject in subjects.iter() {
                        if let Some(ack) = AckSubject::parse(subject) {
                            self.held.replies.hold(ack.stream_seq, subject);
                        }
                    }
                }
            }
        }
        self.ack_up_to_floor().await;
    }

    /// Holds replies of a source from now on, and gives those of another one back.
    async fn hold_of(&mut self, source: Option<SignalSource>) {
        if self.held.source != source {
            give_back(&self.replies, self.held.replies.take()).await;
            self.held.source = source;
        }
    }

    /// Sends the ack that is due by the log's floor.
    async fn ack_up_to_floor(&mut self) {
        self.hold_of(self.source.get()).await;
        let Some(source) = self.held.source else {
            return;
        };
        self.held.looked_at = self.process.changes();
        let floor = self
            .process
            .with(|instance| instance.log().floor(source.stream_created_ns));
        let due = floor.and_then(|floor| self.held.replies.due(floor));
        self.send_acks(due.into_iter().collect(), Some(source))
            .await;
    }

    /// Sends acks, those of a source over no other connection than its own.
    async fn send_acks(&self, replies: Subjects, source: Option<SignalSource>) {
        if replies.is_empty() {
            return;
        }
        for _ in replies.iter() {
            self.faults.reached(Point::BeforeAck).await;
        }
        let connects = source.map(|source| source.connects);
        self.replies.send(replies, ACK, connects).await;
    }
}

#[cfg(test)]
mod tests;
