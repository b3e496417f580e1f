//! The only place that acks a message: after the claims log says that it is done.
//!
//! A reply is acked only while the source that it came from is the one that is there. Over another
//! connection its sequence may be that of another message, such as after a restore, and its
//! consumer sequence one that the server has forgotten. Then the message is given back: it comes
//! again, the log says that it is done, and it is acked by the reply of that delivery.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, Subject};
use bytes::Bytes;
use claims_log::Process;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::fault_point::{FaultPoints, Point};
use crate::jetstream::consumer;
use crate::jetstream::topology::TopologyError;
use crate::reload::InForce;
use crate::settings::{AckPolicy, Settings};
use crate::telemetry::events::{EventLog, Inserted};

use super::ack_floor::HeldReplies;
use super::committed::CommittedBatch;
use super::dead_letter::DeadLettered;
use super::delivery::AckSubject;
use super::exhausted::NoLetterNeeded;
use super::in_flight::{InFlight, Lease};
use super::keep_alive::give_back;
use super::parked::Logged;
use super::pulse::Pulse;
use super::source::{CurrentSource, Source};

/// What may be acked.
#[derive(Debug)]
pub(super) enum Settled {
    /// The rows are in ClickHouse.
    Committed(CommittedBatch),
    /// The dead letter is in its stream.
    DeadLettered(DeadLettered),
    /// The log says that they are done; somebody else has completed their claim.
    Logged(Logged),
    /// A message that was delivered too often has landed all the same, or is gone.
    NoLetterNeeded(NoLetterNeeded),
}

/// What one run of the pipeline did.
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
pub(super) struct Ack {
    pub client: Client,
    pub context: Context,
    pub settings: Arc<Settings>,
    pub in_force: InForce,
    pub in_flight: Arc<InFlight>,
    pub source: CurrentSource,
    pub process: Process,
    /// Where an ack stands for all before it: what is not acked yet.
    pub held: Held,
    pub settled: Receiver<Settled>,
    pub log: EventLog,
    pub faults: FaultPoints,
    pub pulse: Pulse,
}

/// What the stage goes on with.
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
pub(super) struct Held {
    source: Option<Source>,
    replies: HeldReplies,
    /// The log's changes when the floor was looked at.
    looked_at: u64,
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Ack {
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
            match self.pulse.waiting(next).await {
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
        give_back(&self.client, self.held.replies.take()).await;
        if let Err(error) = self.last_acks().await {
            warn!(%error, "NATS did not confirm the last acks; their messages may be delivered again");
        }
        totals
    }

    async fn settle(&mut self, settled: Settled, totals: &mut Totals) {
        match settled {
            Settled::Committed(batch) => {
                self.tell(&batch, totals);
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

    fn tell(&mut self, batch: &CommittedBatch, totals: &mut Totals) {
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

    /// Waits until the server has what was sent. It handles a connection's messages in order,
    /// so the answer to a question that comes behind the acks stands for them.
    async fn last_acks(&self) -> Result<(), TopologyError> {
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        consumer::find(&self.context, &stream.name, &consumer.name).await?;
        Ok(())
    }

    /// An ack is a publish without an answer: a lost one means that the message is
    /// delivered again.
    async fn ack(&mut self, leases: Vec<Lease>) {
        let replies = self.in_flight.settle(leases);
        let current = self.source.get();
        self.hold_of(current).await;
        let (mut acks, mut stale) = (Vec::with_capacity(replies.len()), Vec::new());
        for reply in replies {
            match reply.source {
                None => acks.push(reply.subject),
                Some(_) if reply.source != current => stale.push(reply.subject),
                Some(source) if source.ack_policy == AckPolicy::Explicit => {
                    acks.push(reply.subject)
                }
                Some(_) => {
                    if let Some(ack) = AckSubject::parse(&reply.subject) {
                        self.held.replies.hold(ack.stream_seq, &reply.subject);
                    }
                }
            }
        }
        self.send_acks(acks).await;
        give_back(&self.client, stale).await;
        self.ack_up_to_floor().await;
    }

    /// Holds replies of a source from now on, and gives those of another one back.
    async fn hold_of(&mut self, source: Option<Source>) {
        if self.held.source != source {
            give_back(&self.client, self.held.replies.take()).await;
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
        self.send_acks(due).await;
    }

    async fn send_acks(&self, replies: impl IntoIterator<Item = Subject>) {
        for reply in replies {
            self.faults.reached(Point::BeforeAck).await;
            self.send_ack(reply).await;
        }
    }

    async fn send_ack(&self, reply: Subject) {
        const ACK: Bytes = Bytes::from_static(b"+ACK");
        if let Err(error) = self.client.publish(reply, ACK).await {
            debug!(%error, "Ack not sent; the message is delivered again");
        }
    }
}
