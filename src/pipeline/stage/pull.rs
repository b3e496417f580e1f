//! Messages out of the stream. A pull asks only for what there is room for. What comes and is not
//! handed on is given back.

mod end;
mod request;

use std::sync::Arc;
use std::time::Duration;

use claims::Position;
use jetstream::{ConsumerOptions, PulledMessage};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::pipeline::crossing::ack_subject::AckNames;
use crate::pipeline::crossing::delivery::{Delivery, DeliveryChunk};
use crate::pipeline::crossing::halt::Halt;
use crate::pipeline::crossing::in_flight::{Holding, InFlight, Reservation};
use crate::pipeline::crossing::source::{CurrentSource, SignalSource};
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::liveness::keep_alive::give_back;
use crate::pipeline::log_lines::PULL_FAILED;
use crate::pipeline::metrics::PipelineMetrics;
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::pipeline::port::pulls::{PullError, Pulls, Subscription};
use crate::settings::Settings;
use clock::Backoff;

use end::{End, ending};

/// Messages handed on at a time, when more are there: as many as tokio's budget lets a task
/// receive before others have their turn.
const CHUNK_MESSAGES: usize = 128;
/// Longest time that the next messages of a pull may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// No message for so long means that none is on its way.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at a connection that is lost.
const RECONNECT_POLL: Duration = Duration::from_millis(100);
/// An open pull shows when the stream or the consumer goes. After so long without one, that has
/// to be asked.
const UNWATCHED: Duration = Duration::from_millis(100);

/// One of the tasks that pull side by side, so that one is under way while another ends.
pub struct Pull<P> {
    pub pulls: P,
    pub settings: Arc<Settings>,
    pub source: CurrentSource,
    pub in_flight: &'static InFlight,
    pub deliveries: Sender<DeliveryChunk>,
    pub halt: watch::Receiver<Halt>,
    pub metrics: PipelineMetrics,
    pub process: Arc<dyn ClaimsLog>,
    pub shutdown: CancellationToken,
    pub heartbeat: Heartbeat,
}

/// One subscription, and its source.
struct Session<S> {
    messages: S,
    source: SignalSource,
    last_consumer_seq: u64,
    ack_names: AckNames,
    /// Time of the last message.
    heard_at: Option<Instant>,
}

impl<P: Pulls> Pull<P> {
    /// Pulls until shutdown, whatever happens to the connection, the stream or the consumer.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut known = self.source.get();
        while let Err(error) = self.session(known.take(), &mut backoff).await {
            let pause = backoff.pause();
            warn!(%error, retry_in_ms = pause.as_millis() as u64, "{PULL_FAILED}");
            if self.source.get().is_some() {
                // The consumer may be another one, and the stream may have gone back. After a
                // connect that is checked in any case.
                self.process.recheck();
            }
            let pause = self.shutdown.run_until_cancelled(sleep(pause));
            if self.heartbeat.waiting(pause).await.is_none() {
                break;
            }
        }
    }

    /// Pulls over one subscription; `Ok` when the daemon stops.
    async fn session(
        &mut self,
        known: Option<SignalSource>,
        backoff: &mut Backoff,
    ) -> Result<(), PullError> {
        let connected = self.shutdown.run_until_cancelled(self.connected());
        if self.heartbeat.waiting(connected).await.is_none() {
            return Ok(());
        }
        let source = match known {
            Some(source) => source,
            None => self.find_source().await?,
        };
        let mut session = Session {
            messages: self.pulls.subscribe()?,
            source,
            last_consumer_seq: 0,
            ack_names: AckNames::default(),
            heard_at: None,
        };
        let pulled = self.pull(&mut session, backoff).await;
        if pulled.is_err() {
            let received = session.messages.take_received();
            let replies = received.iter().filter_map(PulledMessage::reply);
            give_back(&self.pulls, replies.collect()).await;
        }
        pulled
    }

    async fn pull(
        &mut self,
        session: &mut Session<P::Subscription>,
        backoff: &mut Backoff,
    ) -> Result<(), PullError> {
        loop {
            let without_pull = Instant::now();
            let room = self.shutdown.run_until_cancelled(self.room());
            let Some(room) = self.heartbeat.waiting(room).await else {
                return Ok(());
            };
            if session.source.connects != self.pulls.connects() {
                return Err(PullError::Reconnected);
            }
            if without_pull.elapsed() >= UNWATCHED && self.find_source().await? != session.source {
                return Err(PullError::SourceChanged);
            }
            let request = request::body(&self.settings.consumer);
            self.pulls
                .request(session.messages.inbox(), request)
                .await?;
            match self.receive(session, room).await? {
                End::Done => backoff.reset(),
                End::Stopped => return Ok(()),
            }
        }
    }

    /// Makes sure of the stream and the consumer.
    async fn find_source(&mut self) -> Result<SignalSource, PullError> {
        let found = self.pulls.find_source().await?;
        self.source.set(found);
        Ok(found)
    }

    /// Waits until there is a connection.
    async fn connected(&self) {
        while !self.pulls.is_connected() {
            sleep(RECONNECT_POLL).await;
        }
    }

    /// Waits until there is a connection, inserts are not halted, and a pull has room.
    async fn room(&self) -> Reservation {
        self.connected().await;
        if self.halt.borrow().is_some() {
            // The sender lives as long as the insert stage, which outlives this one.
            let _ = self.halt.clone().wait_for(Option::is_none).await;
            info!("Pulling goes on");
        }
        let ConsumerOptions {
            fetch_messages,
            fetch_bytes,
            ..
        } = self.settings.consumer;
        self.in_flight.reserve(fetch_messages, fetch_bytes).await
    }

    /// Hands on the messages of one pull until it ends.
    async fn receive(
        &mut self,
        session: &mut Session<P::Subscription>,
        mut room: Reservation,
    ) -> Result<End, PullError> {
        let silence = request::silence(&self.settings.consumer);
        let mut chunk = Vec::with_capacity(CHUNK_MESSAGES);
        while room.messages() > 0 {
            self.heartbeat.step();
            let max = room.messages().min(CHUNK_MESSAGES);
            let received = tokio::select! {
                received = timeout(silence, session.messages.receive(&mut chunk, max)) => received,
                // The server knows nothing of the pull any more.
                () = self.reconnected(session.source.connects) => return Err(PullError::Reconnected),
                () = self.shutdown.cancelled() => {
                    self.drain(session, room).await;
                    return Ok(End::Stopped);
                }
            };
            received
                .map_err(|_| PullError::Silent(silence))?
                .ok_or(PullError::Closed)?;
            if let Some(ended) = self.hand_on(&mut chunk, session, &mut room).await {
                return ended;
            }
        }
        Ok(End::Done)
    }

    /// Waits until the client has connected again.
    async fn reconnected(&self, connects: u64) {
        while self.pulls.connects() == connects {
            sleep(RECONNECT_POLL).await;
        }
    }

    /// Takes what the server has sent when the daemon stops. The client drops what is on its way
    /// when it unsubscribes, and that stays pending for the ack wait. So it does that only once the
    /// pull has ended, or no message has come for a while and none before an answer.
    async fn drain(&mut self, session: &mut Session<P::Subscription>, mut room: Reservation) {
        let is_past = |at: Instant| at.elapsed() >= QUIET;
        let mut is_quiet = false;
        while !is_quiet {
            if self.pulls.ask(session.messages.inbox()).await.is_err() {
                return;
            }
            is_quiet = match self.up_to_answer(session, &mut room).await {
                Some(count) => count == 0 && session.heard_at.is_none_or(is_past),
                None => break,
            };
            if !is_quiet {
                sleep(RECONNECT_POLL).await;
            }
        }
        if let Err(error) = session.messages.drain() {
            debug!(%error, "Subscription not drained; its messages are delivered again");
            return;
        }
        while self.up_to_answer(session, &mut room).await.is_some() {}
    }

    /// Hands on what comes before an answer, and counts it; `None` when the pull has ended.
    async fn up_to_answer(
        &mut self,
        session: &mut Session<P::Subscription>,
        room: &mut Reservation,
    ) -> Option<usize> {
        let (mut chunk, mut count) = (Vec::new(), 0);
        while room.messages() > 0 {
            let max = room.messages().min(CHUNK_MESSAGES);
            let received = session.messages.receive(&mut chunk, max);
            if !matches!(timeout(DRAIN, received).await, Ok(Some(()))) {
                return None;
            }
            let is_delivery = |one: &&PulledMessage| one.reply().is_some();
            let is_answer = |one: &PulledMessage| !is_delivery(&one) && one.status().is_none();
            let is_answered = chunk.iter().any(is_answer);
            count += chunk.iter().filter(is_delivery).count();
            if self.hand_on(&mut chunk, session, room).await.is_some() {
                return None;
            }
            if is_answered {
                return Some(count);
            }
        }
        None
    }

    /// Sends deliveries to the next stage; returns the end of the pull when a status is one.
    async fn hand_on(
        &mut self,
        chunk: &mut Vec<PulledMessage>,
        session: &mut Session<P::Subscription>,
        room: &mut Reservation,
    ) -> Option<Result<End, PullError>> {
        let (arrived, end) = session.take(chunk, room);
        for stranger in &arrived.strangers {
            let subject = String::from_utf8_lossy(stranger.subject());
            warn!(%subject, "Message from outside JetStream on the pull's inbox; it is ignored");
        }
        if let Err(error) = self.check(session, &arrived) {
            // What they are messages of has to be found first. The leases give them back.
            return Some(Err(error));
        }
        if arrived.deliveries.is_empty() {
            return end;
        }
        session.heard_at = Some(Instant::now());
        let count = arrived.deliveries.len() as u64;
        self.metrics.received(count, arrived.bytes, arrived.again);
        let chunk = DeliveryChunk {
            consumer_seq: Some(session.last_consumer_seq),
            ..DeliveryChunk::now(arrived.deliveries)
        };
        if self.deliveries.send(chunk).await.is_err() {
            // Only when the pipeline is torn down; the leases drop.
            return Some(Ok(End::Stopped));
        }
        end
    }

    /// Checks that messages are of the session's source, by which their positions are known.
    fn check(
        &self,
        session: &Session<P::Subscription>,
        arrived: &PulledChunk,
    ) -> Result<(), PullError> {
        if !arrived.is_in_order {
            return Err(PullError::SourceChanged);
        }
        // A request that went out over a new connection may have them come from another stream.
        if session.source.connects != self.pulls.connects() {
            return Err(PullError::Reconnected);
        }
        Ok(())
    }
}

/// Deliveries that arrived together.
struct PulledChunk {
    /// False if they are of another consumer than the ones before.
    is_in_order: bool,
    /// Bytes of the messages.
    bytes: u64,
    /// Messages that were delivered before.
    again: u64,
    /// Messages that did not come from JetStream.
    strangers: Vec<PulledMessage>,
    deliveries: Vec<Delivery>,
}

impl<S> Session<S> {
    /// Takes messages into leases; returns the end of the pull, too, when a status is one.
    fn take(
        &mut self,
        chunk: &mut Vec<PulledMessage>,
        room: &mut Reservation,
    ) -> (PulledChunk, Option<Result<End, PullError>>) {
        let mut end = None;
        let mut arrived = PulledChunk {
            is_in_order: true,
            bytes: 0,
            again: 0,
            strangers: Vec::new(),
            deliveries: Vec::with_capacity(chunk.len()),
        };
        let mut holding = room.holding(Some(self.source), chunk.len());
        for message in chunk.drain(..) {
            match message.status() {
                Some(status) => end = ending(&status).or(end.take()),
                None => self.lease(message, &mut holding, &mut arrived),
            }
        }
        (arrived, end)
    }

    /// Takes a message into a lease, unless it did not come from JetStream. Logs nothing: the log
    /// may block, and all leases wait for `holding`.
    fn lease(
        &mut self,
        message: PulledMessage,
        holding: &mut Holding<'_>,
        arrived: &mut PulledChunk,
    ) {
        // The answer to a question has none.
        let Some(reply) = message.reply() else { return };
        let Some(ack) = self.ack_names.parse(reply) else {
            arrived.strangers.push(message);
            return;
        };
        // One subscription sees them in order; a consumer that was recreated counts from 1. What
        // follows is of that one, too.
        let is_in_order = ack.consumer_seq > self.last_consumer_seq;
        arrived.is_in_order &= is_in_order;
        self.last_consumer_seq = if is_in_order {
            ack.consumer_seq
        } else {
            u64::MAX
        };
        arrived.bytes += message.length() as u64;
        arrived.again += u64::from(ack.delivered > 1);
        let lease = holding.lease(reply, message.length());
        arrived.deliveries.push(Delivery {
            position: Position {
                stream_created_ns: self.source.stream_created_ns,
                stream_seq: ack.stream_seq,
                published_ns: ack.published_ns,
            },
            attempt: ack.delivered,
            given_up: None,
            lease,
            message,
        });
    }
}

#[cfg(test)]
mod tests;
