//! The only place that acks a message: after ClickHouse, or the stream of dead letters, has
//! answered for it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::fault_point::{FaultPoints, Point};
use crate::jetstream::consumer;
use crate::jetstream::topology::TopologyError;
use crate::reload::InForce;
use crate::settings::Settings;
use crate::telemetry::events::{EventLog, Inserted};

use super::ack_floor::AckFloor;
use super::committed::{Answer, CommittedBatch};
use super::dead_letter::DeadLettered;
use super::delivery::AckSubject;
use super::exhausted::NoLetterNeeded;
use super::in_flight::{InFlight, Lease};
use super::pulse::Pulse;

/// What may be acked.
#[derive(Debug)]
pub(super) enum Settled {
    /// The rows are in ClickHouse.
    Committed(CommittedBatch),
    /// The dead letter is in its stream.
    DeadLettered(DeadLettered),
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
    /// Where an ack stands for all before it.
    pub floor: Option<Arc<AckFloor>>,
    pub settled: Receiver<Settled>,
    pub log: EventLog,
    pub faults: FaultPoints,
    pub pulse: Pulse,
}

/// What the stage goes on with.
enum Next {
    Settled(Option<Settled>),
    Summary,
    /// An ack may be due for what was settled before.
    Floor,
    /// SIGHUP has changed the settings.
    Changed,
}

/// Ends when an ack may be due though no message was settled.
async fn may_be_due(floor: Option<&AckFloor>) {
    match floor {
        Some(floor) => floor.may_be_due.notified().await,
        None => std::future::pending().await,
    }
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
                    () = may_be_due(self.floor.as_deref()) => Next::Floor,
                    Ok(()) = self.in_force.changed() => Next::Changed,
                }
            };
            match self.pulse.waiting(next).await {
                Next::Settled(Some(settled)) => self.settle(settled, &mut totals).await,
                Next::Settled(None) => break,
                Next::Summary => self.log.summarize(),
                Next::Floor => {
                    let due = self.floor.as_ref().and_then(|floor| floor.due());
                    self.send_acks(due).await;
                }
                Next::Changed => {
                    self.log.set_bounds(&self.in_force.borrow().log);
                    summary = every(self.log.summary_interval());
                }
            }
        }
        self.log.summarize();
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
            Settled::NoLetterNeeded(advisory) => self.ack(vec![advisory.into_lease()]).await,
        }
    }

    fn tell(&mut self, batch: &CommittedBatch, totals: &mut Totals) {
        match batch.answer() {
            Answer::Inserted {
                receipt,
                close_reason,
                oldest_published_ms,
            } => {
                totals.inserted += receipt.rows as u64;
                self.log.inserted(&Inserted {
                    count: receipt.rows,
                    total: totals.inserted,
                    bytes: receipt.bytes,
                    duration: receipt.duration,
                    oldest_published_ms: *oldest_published_ms,
                    close_reason: close_reason.as_str(),
                });
            }
            Answer::AlreadyStored => {
                totals.already_stored += batch.len() as u64;
                self.log.already_stored(batch.len());
            }
        }
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
    async fn ack(&self, leases: Vec<Lease>) {
        let replies = self.in_flight.settle(leases);
        let Some(floor) = &self.floor else {
            return self.send_acks(replies).await;
        };
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        // Each advisory has an ack of its own.
        let (mut of_signals, mut others) = (Vec::with_capacity(replies.len()), Vec::new());
        for reply in replies {
            match AckSubject::parse_of(&reply, &stream.name, &consumer.name) {
                Some(ack) => of_signals.push((ack, reply)),
                None => others.push(reply),
            }
        }
        self.send_acks(floor.settled(&of_signals)).await;
        self.send_acks(others).await;
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
