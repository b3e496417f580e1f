//! The stages of one pipeline, and the channels between them.

use std::iter::repeat_with;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::claiming::Servers;
use crate::reload::InForce;
use crate::settings::Settings;
use crate::telemetry::events::EventLog;

use super::Ends;
use super::absent::Absent;
use super::ack::{Ack, Held, Settled, Totals};
use super::batch::ClosedBatch;
use super::circuit::Circuit;
use super::dead_letter::{DeadLetter, Letters, Rejected};
use super::decode::{self, Decode, Slot};
use super::delivery::Arrived;
use super::exhausted::Exhausted;
use super::in_flight::InFlight;
use super::insert::{self, Halt, Insert};
use super::parked::Parked;
use super::pull::Pull;
use super::pulse::Pulses;
use super::source::CurrentSource;
use super::suspects::Suspects;
use super::takeover::Takeover;

/// Committed batches and dead letters that wait for their acks.
const WAITING_SETTLED: usize = 256;

/// The tasks of one pipeline.
pub(super) struct Stages {
    /// Those of `before_ack` that pull.
    pub pulls: Vec<AbortHandle>,
    pub before_ack: Vec<JoinHandle<()>>,
    pub ack: JoinHandle<Totals>,
}

/// Parts that several stages share.
struct Wiring<'a> {
    ends: Ends,
    in_force: &'a InForce,
    settings: Arc<Settings>,
    source: CurrentSource,
    in_flight: Arc<InFlight>,
    shutdown: CancellationToken,
    backoff: Backoff,
    pulses: &'a mut Pulses,
}

/// Starts the stages.
pub(super) fn spawn(
    ends: Ends,
    in_force: &InForce,
    in_flight: &Arc<InFlight>,
    shutdown: &CancellationToken,
    pulses: &mut Pulses,
) -> (Stages, watch::Receiver<Halt>) {
    let settings = Arc::clone(&in_force.borrow());
    let channels = channels(&settings);
    let mut wiring = Wiring {
        source: CurrentSource::new(ends.client.clone(), ends.source),
        ends,
        in_force,
        in_flight: Arc::clone(in_flight),
        shutdown: shutdown.clone(),
        backoff: Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max),
        settings,
        pulses,
    };
    let parked = Parked::new(wiring.ends.process.clone(), channels.settled.0.clone());
    let pulls = wiring.pulls(&channels);
    let decode = wiring.decode(channels.deliveries.1, channels.batches.0);
    let exhausted = wiring.exhausted(channels.deliveries.0, channels.settled.0.clone());
    let insert = Insert {
        store: wiring.ends.store.clone(),
        cache: wiring.ends.cache.clone(),
        circuit: Arc::new(Circuit::new(wiring.backoff.clone())),
        suspects: Arc::new(Suspects::default()),
        insert_time: Arc::clone(decode.insert_time()),
        process: wiring.ends.process.clone(),
        parked: parked.clone(),
        servers: wiring.servers(),
        source: wiring.source.clone(),
        entries_max: insert::entries_max(wiring.ends.client.max_payload()),
        max_payload: wiring.ends.client.max_payload(),
        fence: wiring.settings.clickhouse.fence,
        late_commit: wiring.settings.clickhouse.late_commit,
        shutdown: wiring.shutdown.clone(),
        over: wiring.ends.reading.clone(),
        batches: Arc::new(Mutex::new(channels.batches.1)),
        settled: channels.settled.0,
        rejects: channels.rejects.0,
        halt: channels.halt.0,
        ops: wiring.ends.ops.clone(),
        faults: wiring.ends.faults.clone(),
        pulse: wiring.pulses.of("insert"),
    };
    let (takeover, absent) = (wiring.takeover(&insert), wiring.absent(&insert));
    let inserts = wiring.inserts(insert);
    let dead_letter = wiring.dead_letter(channels.rejects.1);
    let ack = wiring.ack(channels.settled.1);
    let pulls = pulls.into_iter().map(|pull| tokio::spawn(pull.run()));
    let mut before_ack: Vec<_> = pulls.collect();
    let pulls = before_ack.iter().map(JoinHandle::abort_handle).collect();
    before_ack.extend(inserts.into_iter().map(|insert| tokio::spawn(insert.run())));
    before_ack.extend([
        tokio::spawn(decode.run()),
        tokio::spawn(exhausted.run()),
        tokio::spawn(dead_letter.run()),
        tokio::spawn(parked.run(shutdown.clone())),
        tokio::spawn(takeover.run()),
        tokio::spawn(absent.run()),
    ]);
    let stages = Stages {
        pulls,
        before_ack,
        ack: tokio::spawn(ack.run()),
    };
    (stages, channels.halt.1)
}

impl Wiring<'_> {
    fn servers(&self) -> Servers {
        Servers::new(&self.ends.context, &self.ends.store, &self.settings)
    }

    /// Tasks that pull side by side, each with its own pulse.
    fn pulls(&mut self, channels: &Channels) -> Vec<Pull> {
        let one = || Pull {
            client: self.ends.client.clone(),
            context: self.ends.context.clone(),
            settings: Arc::clone(&self.settings),
            source: self.source.clone(),
            in_flight: Arc::clone(&self.in_flight),
            deliveries: channels.deliveries.0.clone(),
            halt: channels.halt.1.clone(),
            metrics: Arc::clone(&self.ends.ops.metrics),
            process: self.ends.process.clone(),
            shutdown: self.shutdown.clone(),
            pulse: self.pulses.of("pull"),
        };
        repeat_with(one)
            .take(self.settings.consumer.pulls)
            .collect()
    }

    fn decode(
        &mut self,
        deliveries: mpsc::Receiver<Arrived>,
        batches: mpsc::Sender<(ClosedBatch, Slot)>,
    ) -> Decode {
        Decode::new(
            self.in_force.clone(),
            decode::Channels {
                deliveries,
                batches,
            },
            self.ends.traces.collecting(),
            &self.ends.ops,
            self.ends.faults.clone(),
            self.pulses.of("decode"),
        )
    }

    fn exhausted(
        &mut self,
        deliveries: mpsc::Sender<Arrived>,
        settled: mpsc::Sender<Settled>,
    ) -> Exhausted {
        Exhausted {
            pulse: self.pulses.of("exhausted"),
            ends: self.ends.clone(),
            settings: Arc::clone(&self.settings),
            source: self.source.clone(),
            in_flight: Arc::clone(&self.in_flight),
            deliveries,
            settled,
            backoff: self.backoff.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn takeover(&mut self, insert: &Insert) -> Takeover {
        Takeover {
            insert: Insert {
                pulse: self.pulses.of("takeover"),
                ..insert.clone()
            },
            context: self.ends.context.clone(),
            settings: Arc::clone(&self.settings),
            in_force: self.in_force.clone(),
            in_flight: Arc::clone(&self.in_flight),
            reading: Arc::default(),
        }
    }

    fn absent(&mut self, insert: &Insert) -> Absent {
        Absent {
            insert: Insert {
                pulse: self.pulses.of("absent"),
                ..insert.clone()
            },
            context: self.ends.context.clone(),
            settings: Arc::clone(&self.settings),
            in_force: self.in_force.clone(),
            in_flight: Arc::clone(&self.in_flight),
        }
    }

    /// Workers that insert side by side, each with its own pulse.
    fn inserts(&mut self, insert: Insert) -> Vec<Insert> {
        let one = || Insert {
            pulse: self.pulses.of("insert"),
            ..insert.clone()
        };
        repeat_with(one)
            .take(self.settings.clickhouse.max_concurrent_inserts)
            .collect()
    }

    fn dead_letter(&mut self, rejects: mpsc::Receiver<(Rejected, Letters)>) -> DeadLetter {
        DeadLetter {
            max_payload: self.ends.client.max_payload(),
            context: self.ends.context.clone(),
            settings: Arc::clone(&self.settings),
            refusals: self.ends.ops.refusals.clone(),
            rejects,
            backoff: self.backoff.clone(),
            traces: self.ends.traces.clone(),
            faults: self.ends.faults.clone(),
            pulse: self.pulses.of("dead letter"),
        }
    }

    fn ack(self, settled: mpsc::Receiver<Settled>) -> Ack {
        let Ends {
            client,
            context,
            process,
            ops,
            faults,
            ..
        } = self.ends;
        Ack {
            client,
            context,
            process,
            log: EventLog::new(&self.settings.log, ops.metrics, ops.recent),
            settings: self.settings,
            in_force: self.in_force.clone(),
            in_flight: self.in_flight,
            source: self.source,
            held: Held::default(),
            settled,
            faults,
            pulse: self.pulses.of("ack"),
        }
    }
}

/// Channels between the stages, each with its bound.
struct Channels {
    deliveries: Channel<Arrived>,
    rejects: Channel<(Rejected, Letters)>,
    batches: Channel<(ClosedBatch, Slot)>,
    settled: Channel<Settled>,
    halt: (watch::Sender<Halt>, watch::Receiver<Halt>),
}

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

fn channels(settings: &Settings) -> Channels {
    // A sender of a delivery or a reject holds its share of the memory bound already, so these two
    // never fill: no later stage keeps a pull from its messages or a batch from closing.
    let held_max = settings.consumer.max_in_flight_messages;
    Channels {
        deliveries: mpsc::channel(held_max),
        rejects: mpsc::channel(held_max),
        // A batch is sent with a slot for its insert, so that none waits here.
        batches: mpsc::channel(settings.clickhouse.max_concurrent_inserts),
        settled: mpsc::channel(WAITING_SETTLED),
        halt: watch::channel(None),
    }
}
