//! Messages out of the stream. A pull asks only for what there is room for. What comes and is not
//! handed on is given back.

mod end;
mod request;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use claims::Position;
use claims_log::Process;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::settings::{Consumer, Settings};
use crate::telemetry::metrics::Metrics;

use super::delivery::{AckSubject, Arrived, Delivery};
use super::in_flight::{InFlight, Lease, Room};
use super::insert::Halt;
use super::keep_alive::give_back;
use super::pulse::Pulse;
use super::source::{CurrentSource, Source, connect_count};

use end::{End, PullError, ending};

/// Messages handed on at a time, when more are there: as many as tokio's budget lets a task
/// receive before others have their turn.
const CHUNK_MESSAGES: usize = 128;
/// How long the next messages of a pull may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// No message for so long means that none is on its way.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks at a connection that is lost.
const RECONNECT_POLL: Duration = Duration::from_millis(100);
/// An open pull shows when the stream or the consumer goes. After so long without one, that has
/// to be asked.
const UNWATCHED: Duration = Duration::from_millis(100);

/// One of the tasks that pull side by side, so that one is under way while another ends.
#[derive(Clone)]
pub(super) struct Pull {
    pub client: Client,
    pub context: Context,
    pub settings: Arc<Settings>,
    pub source: CurrentSource,
    pub in_flight: Arc<InFlight>,
    pub deliveries: Sender<Arrived>,
    pub halt: watch::Receiver<Halt>,
    pub metrics: Arc<Metrics>,
    pub process: Process,
    pub shutdown: CancellationToken,
    pub pulse: Pulse,
}

/// One subscription, and what is known of it.
struct Session {
    messages: Subscriber,
    inbox: String,
    source: Source,
    last_consumer_seq: u64,
    /// When the last message came.
    heard_at: Option<Instant>,
}

impl Pull {
    /// Pulls until shutdown, whatever happens to the connection, the stream or the consumer.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut known = self.source.get();
        while let Err(error) = self.session(known.take(), &mut backoff).await {
            let pause = backoff.pause();
            warn!(%error, retry_in_ms = pause.as_millis() as u64, "Pull failed; it is repeated");
            if self.source.get().is_some() {
                // The consumer may be another one, and the stream may have gone back. After a
                // connect that is checked in any case.
                self.process.recheck();
            }
            let pause = self.shutdown.run_until_cancelled(sleep(pause));
            if self.pulse.waiting(pause).await.is_none() {
                break;
            }
        }
    }

    /// Pulls over one subscription; `Ok` when the daemon stops.
    async fn session(
        &mut self,
        known: Option<Source>,
        backoff: &mut Backoff,
    ) -> Result<(), PullError> {
        let source = match known {
            Some(source) => source,
            None => self.find_source().await?,
        };
        let inbox = self.client.new_inbox();
        let mut session = Session {
            messages: self.client.subscribe(inbox.clone()).await?,
            inbox,
            source,
            last_consumer_seq: 0,
            heard_at: None,
        };
        let pulled = self.pull(&mut session, backoff).await;
        if pulled.is_err() {
            let mut buffered = Vec::new();
            while let Some(Some(message)) = session.messages.next().now_or_never() {
                buffered.extend(message.reply);
            }
            give_back(&self.client, buffered).await;
        }
        pulled
    }

    async fn pull(
        &mut self,
        session: &mut Session,
        backoff: &mut Backoff,
    ) -> Result<(), PullError> {
        loop {
            let without_pull = Instant::now();
            let room = self.shutdown.run_until_cancelled(self.room());
            let Some(room) = self.pulse.waiting(room).await else {
                return Ok(());
            };
            if session.source.connects != connect_count(&self.client) {
                return Err(PullError::Reconnected);
            }
            if without_pull.elapsed() >= UNWATCHED && self.find_source().await? != session.source {
                return Err(PullError::SourceChanged);
            }
            self.request(&session.inbox).await?;
            match self.receive(session, room).await? {
                End::Done => backoff.reset(),
                End::Stopped => return Ok(()),
            }
        }
    }

    /// Makes sure of the stream and the consumer.
    async fn find_source(&mut self) -> Result<Source, PullError> {
        let found = Source::ensure(&self.context, &self.settings).await?;
        self.source.set(found);
        Ok(found)
    }

    /// Waits until there is a connection, inserts are not halted, and a pull has room.
    async fn room(&self) -> Room {
        while self.client.connection_state() != State::Connected {
            // Requests made now would all go out, stale, after the reconnect.
            sleep(RECONNECT_POLL).await;
        }
        if self.halt.borrow().is_some() {
            // The sender lives as long as the insert stage, which outlives this one.
            let _ = self.halt.clone().wait_for(Option::is_none).await;
            info!("Pulling goes on");
        }
        let Consumer {
            fetch_messages,
            fetch_bytes,
            ..
        } = self.settings.consumer;
        self.in_flight.reserve(fetch_messages, fetch_bytes).await
    }

    async fn request(&self, inbox: &str) -> Result<(), PullError> {
        let consumer = &self.settings.consumer;
        let subject = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
            self.settings.stream.name, consumer.name
        );
        let request = request::body(consumer);
        self.client
            .publish_with_reply(subject, inbox.to_owned(), request)
            .await?;
        Ok(())
    }

    /// Hands on the messages of one pull until it ends.
    async fn receive(&mut self, session: &mut Session, mut room: Room) -> Result<End, PullError> {
        let silence = request::silence(&self.settings.consumer);
        let mut chunk = Vec::with_capacity(CHUNK_MESSAGES);
        while room.messages() > 0 {
            self.pulse.step();
            let max = room.messages().min(CHUNK_MESSAGES);
            let received = tokio::select! {
                received = timeout(silence, receive_chunk(&mut session.messages, &mut chunk, max)) => received,
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
        while connect_count(&self.client) == connects {
            sleep(RECONNECT_POLL).await;
        }
    }

    /// Takes what the server has sent when the daemon stops. The client drops what is on its way
    /// when it unsubscribes, and that stays pending for the ack wait. So it does that only once the
    /// pull has ended, or no message has come for a while and none before an answer.
    async fn drain(&mut self, session: &mut Session, mut room: Room) {
        let is_past = |at: Instant| at.elapsed() >= QUIET;
        let mut is_quiet = false;
        while !is_quiet {
            if self.ask(&session.inbox).await.is_err() {
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
        if let Err(error) = session.messages.drain().await {
            debug!(%error, "Subscription not drained; its messages are delivered again");
            return;
        }
        while self.up_to_answer(session, &mut room).await.is_some() {}
    }

    /// Has the server send an answer to the inbox of the pull.
    async fn ask(&self, inbox: &str) -> Result<(), PullError> {
        let (stream, consumer) = (&self.settings.stream.name, &self.settings.consumer.name);
        let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}");
        let asked = self
            .client
            .publish_with_reply(subject, inbox.to_owned(), Bytes::new());
        Ok(asked.await?)
    }

    /// Hands on what comes before an answer, and counts it; `None` when the pull has ended.
    async fn up_to_answer(&mut self, session: &mut Session, room: &mut Room) -> Option<usize> {
        let (mut chunk, mut count) = (Vec::new(), 0);
        while room.messages() > 0 {
            let max = room.messages().min(CHUNK_MESSAGES);
            let received = receive_chunk(&mut session.messages, &mut chunk, max);
            if !matches!(timeout(DRAIN, received).await, Ok(Some(()))) {
                return None;
            }
            let is_answer = |one: &Message| one.status.is_none() && one.reply.is_none();
            let is_answered = chunk.iter().any(is_answer);
            count += chunk.iter().filter(|one| one.reply.is_some()).count();
            if self.hand_on(&mut chunk, session, room).await.is_some() {
                return None;
            }
            if is_answered {
                return Some(count);
            }
        }
        None
    }

    /// Sends deliveries to the next stage; says how the pull ended when a status tells.
    async fn hand_on(
        &mut self,
        chunk: &mut Vec<Message>,
        session: &mut Session,
        room: &mut Room,
    ) -> Option<Result<End, PullError>> {
        let mut end = None;
        let mut acks = Vec::with_capacity(chunk.len());
        chunk.retain(|message| {
            if let Some(status) = message.status {
                end = ending(status, message).or(end.take());
                return false;
            }
            let ack = ack_subject(message);
            acks.extend(ack);
            ack.is_some()
        });
        let replies = chunk.iter_mut().filter_map(|message| {
            let reply = message.reply.take()?;
            Some((reply, message.length))
        });
        let leases = room.leases(session.source, replies);
        if let Err(error) = self.check(session, &acks) {
            // What they are messages of has to be found first. The leases give them back.
            chunk.clear();
            return Some(Err(error));
        }
        if !acks.is_empty() {
            session.heard_at = Some(Instant::now());
        }
        self.count(chunk, &acks);
        let arrived = Arrived {
            consumer_seq: Some(session.last_consumer_seq),
            ..Arrived::now(deliveries(&session.source, chunk, acks, leases))
        };
        if !arrived.deliveries.is_empty() && self.deliveries.send(arrived).await.is_err() {
            // Only when the pipeline is torn down; the leases drop.
            return Some(Ok(End::Stopped));
        }
        end
    }

    /// Checks that messages are of the session's source, by which their positions are known.
    fn check(&self, session: &mut Session, acks: &[AckSubject]) -> Result<(), PullError> {
        // One subscription sees them in order; a consumer that was recreated counts from 1.
        for ack in acks {
            if ack.consumer_seq <= session.last_consumer_seq {
                return Err(PullError::SourceChanged);
            }
            session.last_consumer_seq = ack.consumer_seq;
        }
        // A request that went out over a new connection may have them come from another stream.
        if session.source.connects != connect_count(&self.client) {
            return Err(PullError::Reconnected);
        }
        Ok(())
    }

    fn count(&self, messages: &[Message], acks: &[AckSubject]) {
        let bytes: usize = messages.iter().map(|message| message.length).sum();
        let again = acks.iter().filter(|ack| ack.delivered > 1).count();
        self.metrics
            .received(messages.len() as u64, bytes as u64, again as u64);
    }
}

fn deliveries(
    source: &Source,
    messages: &mut Vec<Message>,
    acks: Vec<AckSubject>,
    leases: Vec<Lease>,
) -> Vec<Delivery> {
    let stream_created_ns = source.stream_created_ns;
    let deliveries = messages.drain(..).zip(acks).zip(leases);
    deliveries
        .map(|((message, ack), lease)| Delivery {
            subject: message.subject,
            body: message.payload,
            headers: message.headers,
            unreadable_headers: None,
            position: Position {
                stream_created_ns,
                stream_seq: ack.stream_seq,
                published_ns: ack.published_ns,
            },
            attempt: ack.delivered,
            given_up: None,
            lease,
        })
        .collect()
}

/// Waits for a message, and adds it and those that are there to `chunk`, at most `max`; `None`
/// when none will come.
async fn receive_chunk(
    messages: &mut Subscriber,
    chunk: &mut Vec<Message>,
    max: usize,
) -> Option<()> {
    chunk.push(messages.next().await?);
    while chunk.len() < max
        && let Some(Some(message)) = messages.next().now_or_never()
    {
        chunk.push(message);
    }
    Some(())
}

/// What the reply says of a delivery; `None` for a message that did not come from JetStream.
fn ack_subject(message: &Message) -> Option<AckSubject> {
    let ack = AckSubject::parse(message.reply.as_ref()?);
    if ack.is_none() {
        warn!(subject = %message.subject, "Message from outside JetStream on the pull's inbox; it is ignored");
    }
    ack
}
