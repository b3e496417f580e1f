//! The stages of one pipeline, and the channels between them.

use std::iter::repeat_with;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::claiming::Servers;
use crate::reload::SettingsHandle;
use crate::settings::Settings;
use clock::Backoff;
use telemetry::events::EventLog;

use crate::pipeline::context::PipelineContext;
use crate::pipeline::crossing::batch::ClosedBatch;
use crate::pipeline::crossing::delivery::DeliveryChunk;
use crate::pipeline::crossing::halt::Halt;
use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::crossing::permit::InsertPermit;
use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::crossing::source::CurrentSource;
use crate::pipeline::liveness::heartbeat::Heartbeats;
use crate::pipeline::port::advisories::JetStreamAdvisories;
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::pipeline::port::pulls::JetStreamPulls;
use crate::pipeline::stage::absent::Absent;
use crate::pipeline::stage::ack::{Ack, HeldAcks, Totals};
use crate::pipeline::stage::circuit::Circuit;
use crate::pipeline::stage::dead_letter::DeadLetterStage;
use crate::pipeline::stage::decode;
use crate::pipeline::stage::decode::Decode;
use crate::pipeline::stage::insert;
use crate::pipeline::stage::insert::Insert;
use crate::pipeline::stage::max_deliveries::MaxDeliveries;
use crate::pipeline::stage::parked::Parked;
use crate::pipeline::stage::pull::Pull;
use crate::pipeline::stage::quarantine::Quarantine;
use crate::pipeline::stage::takeover::Takeover;

/// Committed batches and dead letters that wait for their acks.
const WAITING_SETTLED: usize = 256;

/// The tasks of one pipeline.
pub struct Stages {
    /// Handles of the tasks in `before_ack` that pull.
    pub pulls: Vec<AbortHandle>,
    pub before_ack: Vec<JoinHandle<()>>,
    pub ack: JoinHandle<Totals>,
}

/// Parts that several stages share.
struct Wiring<'a> {
    context: PipelineContext,
    process: Arc<dyn ClaimsLog>,
    /// The streams of signals and of dead letters.
    servers: Arc<Servers>,
    in_force: &'a SettingsHandle,
    settings: Arc<Settings>,
    source: CurrentSource,
    in_flight: &'static InFlight,
    shutdown: CancellationToken,
    backoff: Backoff,
    heartbeats: &'a mut Heartbeats,
}

/// Starts the stages.
pub fn spawn(
    context: PipelineContext,
    in_force: &SettingsHandle,
    in_flight: &'static InFlight,
    shutdown: &CancellationToken,
    heartbeats: &mut Heartbeats,
) -> (Stages, watch::Receiver<Halt>) {
    let channels = channels(&in_force.borrow());
    let mut wiring = Wiring::new(context, in_force, in_flight, shutdown, heartbeats);
    let parked = Parked::new(Arc::clone(&wiring.process), channels.settled.0.clone());
    let pulls = wiring.pulls(&channels);
    let decode = wiring.decode(channels.deliveries.1, channels.batches.0);
    let max_deliveries = wiring.max_deliveries(channels.deliveries.0, channels.settled.0.clone());
    let insert = Insert {
        sink: Arc::new(wiring.context.store.clone()),
        after_commit: wiring.context.after_commit.clone(),
        circuit: Arc::new(Circuit::new(wiring.backoff.clone())),
        quarantine: Arc::new(Quarantine::default()),
        insert_time: Arc::clone(decode.insert_time()),
        process: Arc::clone(&wiring.process),
        parked: parked.clone(),
        dead_letters: wiring.servers.clone(),
        settings: Arc::clone(&wiring.settings),
        source: wiring.source.clone(),
        entries_max: insert::entries_max(wiring.context.client.max_payload()),
        max_payload: wiring.context.client.max_payload(),
        fence: wiring.settings.clickhouse.fence,
        late_commit: wiring.settings.clickhouse.late_commit,
        shutdown: wiring.shutdown.clone(),
        over: wiring.context.reading.clone(),
        batches: Arc::new(Mutex::new(channels.batches.1)),
        settled: channels.settled.0,
        rejects: channels.rejects.0,
        halt: channels.halt.0,
        ops: wiring.context.ops.clone(),
        faults: wiring.context.faults.clone(),
        heartbeat: wiring.heartbeats.add("insert"),
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
        tokio::spawn(max_deliveries.run()),
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

impl<'a> Wiring<'a> {
    fn new(
        context: PipelineContext,
        in_force: &'a SettingsHandle,
        in_flight: &'static InFlight,
        shutdown: &CancellationToken,
        heartbeats: &'a mut Heartbeats,
    ) -> Self {
        let settings = Arc::clone(&in_force.borrow());
        let (jetstream, store) = (&context.jetstream, &context.store);
        Self {
            source: CurrentSource::new(Arc::new(context.pulls.clone()), context.source),
            process: Arc::new(context.process.clone()),
            servers: Arc::new(Servers::new(jetstream, store, &settings)),
            context,
            in_force,
            in_flight,
            shutdown: shutdown.clone(),
            backoff: Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max),
            settings,
            heartbeats,
        }
    }

    /// Tasks that pull side by side, each with its own heartbeat.
    fn pulls(&mut self, channels: &Channels) -> Vec<Pull<JetStreamPulls>> {
        let one = || Pull {
            pulls: self.context.pulls.clone(),
            settings: Arc::clone(&self.settings),
            source: self.source.clone(),
            in_flight: self.in_flight,
            deliveries: channels.deliveries.0.clone(),
            halt: channels.halt.1.clone(),
            metrics: self.context.ops.metrics.pipeline.clone(),
            process: Arc::clone(&self.process),
            shutdown: self.shutdown.clone(),
            heartbeat: self.heartbeats.add("pull"),
        };
        repeat_with(one)
            .take(self.settings.consumer.pulls)
            .collect()
    }

    fn decode(
        &mut self,
        deliveries: mpsc::Receiver<DeliveryChunk>,
        batches: mpsc::Sender<(ClosedBatch, InsertPermit)>,
    ) -> Decode {
        Decode::new(
            self.in_force.clone(),
            decode::Channels {
                deliveries,
                batches,
            },
            self.context.traces.collecting(),
            &self.context.ops,
            self.context.faults.clone(),
            self.heartbeats.add("decode"),
        )
    }

    fn max_deliveries(
        &mut self,
        deliveries: mpsc::Sender<DeliveryChunk>,
        settled: mpsc::Sender<Settled>,
    ) -> MaxDeliveries<JetStreamAdvisories> {
        MaxDeliveries {
            heartbeat: self.heartbeats.add("exhausted"),
            advisories: JetStreamAdvisories {
                context: self.context.jetstream.clone(),
                settings: Arc::clone(&self.settings),
            },
            process: Arc::clone(&self.process),
            settings: Arc::clone(&self.settings),
            source: self.source.clone(),
            in_flight: self.in_flight,
            deliveries,
            settled,
            backoff: self.backoff.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn takeover(&mut self, insert: &Insert) -> Takeover {
        Takeover {
            insert: Insert {
                heartbeat: self.heartbeats.add("takeover"),
                ..insert.clone()
            },
            signals: self.servers.clone(),
            settings: Arc::clone(&self.settings),
            in_force: self.in_force.clone(),
            in_flight: self.in_flight,
            reading: Arc::default(),
        }
    }

    fn absent(&mut self, insert: &Insert) -> Absent {
        Absent {
            insert: Insert {
                heartbeat: self.heartbeats.add("absent"),
                ..insert.clone()
            },
            signals: self.servers.clone(),
            settings: Arc::clone(&self.settings),
            in_force: self.in_force.clone(),
            in_flight: self.in_flight,
        }
    }

    /// Workers that insert side by side, each with its own heartbeat.
    fn inserts(&mut self, insert: Insert) -> Vec<Insert> {
        let one = || Insert {
            heartbeat: self.heartbeats.add("insert"),
            ..insert.clone()
        };
        repeat_with(one)
            .take(self.settings.clickhouse.max_concurrent_inserts)
            .collect()
    }

    fn dead_letter(
        &mut self,
        rejects: mpsc::Receiver<(Rejected, ClaimDeadLetters)>,
    ) -> DeadLetterStage {
        DeadLetterStage {
            max_payload: self.context.client.max_payload(),
            dead_letters: self.servers.clone(),
            settings: Arc::clone(&self.settings),
            refusals: self.context.ops.refusals.clone(),
            rejects,
            backoff: self.backoff.clone(),
            traces: self.context.traces.clone(),
            faults: self.context.faults.clone(),
            heartbeat: self.heartbeats.add("dead letter"),
        }
    }

    fn ack(self, settled: mpsc::Receiver<Settled>) -> Ack<JetStreamPulls> {
        let PipelineContext {
            pulls, ops, faults, ..
        } = self.context;
        Ack {
            replies: pulls,
            process: self.process,
            log: EventLog::new(&self.settings.log, ops.metrics.events.clone(), ops.recent),
            in_force: self.in_force.clone(),
            in_flight: self.in_flight,
            source: self.source,
            held: HeldAcks::default(),
            settled,
            faults,
            heartbeat: self.heartbeats.add("ack"),
        }
    }
}

/// Channels between the stages, each with its bound.
struct Channels {
    deliveries: Channel<DeliveryChunk>,
    rejects: Channel<(Rejected, ClaimDeadLetters)>,
    batches: Channel<(ClosedBatch, InsertPermit)>,
    settled: Channel<Settled>,
    halt: (watch::Sender<Halt>, watch::Receiver<Halt>),
}

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

#[expect(
    clippy::disallowed_methods,
    reason = "all queues of the pipeline are made here"
)]
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
