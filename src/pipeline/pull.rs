//! Messages out of the stream. A pull asks only for what there is room for, so that no
//! delivered message waits unseen while its ack wait runs.

mod end;
mod pinned;
mod request;

pub(super) use pinned::Pinned;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::{Client, Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::settings::{Consumer, Settings};
use crate::telemetry::metrics::Metrics;

use super::delivery::{AckSubject, Arrived, Delivery, Position};
use super::in_flight::{InFlight, Reservation, Room};
use super::insert::Halt;
use super::pulse::Pulse;
use super::source::{Source, connect_count};

use end::{End, PullError, ending};

/// Messages handed on at a time, when more are there: as many as tokio's budget lets a task
/// receive before others have their turn.
const CHUNK_MESSAGES: usize = 128;
/// How long the last messages of a pull may take once the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Between two looks at a connection that is lost.
const RECONNECT_POLL: Duration = Duration::from_millis(100);

/// One of the tasks that pull side by side, so that one is under way while another ends.
#[derive(Clone)]
pub(super) struct Pull {
    pub client: Client,
    pub context: Context,
    pub settings: Arc<Settings>,
    pub source: Source,
    /// Where one instance at a time has the messages.
    pub pinned: Option<Pinned>,
    pub in_flight: Arc<InFlight>,
    pub deliveries: Sender<Arrived>,
    pub halt: watch::Receiver<Halt>,
    pub metrics: Arc<Metrics>,
    pub shutdown: CancellationToken,
    pub pulse: Pulse,
}

impl Pull {
    /// Pulls until shutdown, whatever happens to the connection, the stream or the consumer.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(error) = self.session(&mut backoff).await {
            let pause = backoff.pause();
            warn!(%error, retry_in_ms = pause.as_millis() as u64, "Pull failed; it is made anew");
            self.source.is_current = false;
            let pause = self.shutdown.run_until_cancelled(sleep(pause));
            if self.pulse.waiting(pause).await.is_none() {
                break;
            }
        }
        if let Some(pinned) = &mut self.pinned {
            self.pulse.step();
            pinned.release(&self.context, &self.settings).await;
        }
    }

    /// Pulls over one subscription; `Ok` when the daemon stops.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), PullError> {
        let inbox = self.client.new_inbox();
        let connects = connect_count(&self.client);
        if !self.source.is_current || self.source.connects != connects {
            self.find_source().await?;
        }
        let mut messages = self.client.subscribe(inbox.clone()).await?;
        let mut last_consumer_seq = 0;
        loop {
            let without_pull = Instant::now();
            let room = self.shutdown.run_until_cancelled(self.room());
            let Some(room) = self.pulse.waiting(room).await else {
                return Ok(());
            };
            // An open pull shows when a server has crashed and forgotten what it delivered;
            // without one, that has to be asked.
            if self.source.connects != connect_count(&self.client) {
                return Err(PullError::ConnectionAnew);
            }
            if without_pull.elapsed() >= request::silence(&self.settings.consumer) {
                self.find_source().await?;
            }
            if let Some(pinned) = &mut self.pinned {
                pinned.look(&self.context, &self.settings).await?;
            }
            let reservation = room.requested(self.source.epoch);
            self.request(&inbox).await?;
            let end = self.receive(&mut messages, reservation, &mut last_consumer_seq);
            match end.await? {
                End::Done => backoff.reset(),
                End::Unpinned => {
                    if let Some(pinned) = &mut self.pinned {
                        pinned.lost();
                    }
                }
                End::Stopped => return Ok(()),
            }
        }
    }

    /// Makes sure of the stream and the consumer, and of what may have been forgotten of them.
    async fn find_source(&mut self) -> Result<(), PullError> {
        let before = self.source;
        self.source = Source::ensure(&self.context, &self.settings, Some(before)).await?;
        if self.source.epoch != before.epoch {
            tell_of(&self.source);
            if let Some(pinned) = &self.pinned {
                pinned.floor().forget();
            }
        }
        Ok(())
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
        let request = request::body(consumer, self.pinned.as_ref());
        self.client
            .publish_with_reply(subject, inbox.to_owned(), request)
            .await?;
        Ok(())
    }

    /// Hands on the messages of one pull until it ends.
    async fn receive(
        &mut self,
        messages: &mut Subscriber,
        mut reservation: Reservation,
        last_consumer_seq: &mut u64,
    ) -> Result<End, PullError> {
        let silence = request::silence(&self.settings.consumer);
        let mut chunk = Vec::with_capacity(CHUNK_MESSAGES);
        while reservation.messages() > 0 {
            self.pulse.step();
            let max = reservation.messages().min(CHUNK_MESSAGES);
            let received = tokio::select! {
                received = timeout(silence, receive_chunk(messages, &mut chunk, max)) => received,
                () = self.shutdown.cancelled() => {
                    self.drain(messages, reservation, last_consumer_seq).await;
                    return Ok(End::Stopped);
                }
            };
            received
                .map_err(|_| PullError::Silent(silence))?
                .ok_or(PullError::Closed)?;
            let ended = self.hand_on(&mut chunk, &mut reservation, last_consumer_seq);
            if let Some(ended) = ended.await {
                return ended;
            }
        }
        Ok(End::Done)
    }

    /// Takes what the server had already sent when the daemon stops.
    async fn drain(
        &mut self,
        messages: &mut Subscriber,
        mut reservation: Reservation,
        last_consumer_seq: &mut u64,
    ) {
        if let Err(error) = messages.drain().await {
            debug!(%error, "Subscription not drained; its messages are delivered again");
            return;
        }
        let all = async {
            let mut chunk = Vec::new();
            while let Some(()) = receive_chunk(messages, &mut chunk, CHUNK_MESSAGES).await {
                let ended = self.hand_on(&mut chunk, &mut reservation, last_consumer_seq);
                if let Some(Err(_)) = ended.await {
                    // They are delivered again.
                    return;
                }
            }
        };
        if timeout(DRAIN, all).await.is_err() {
            debug!("Subscription not drained in time; its messages are delivered again");
        }
    }

    /// Sends deliveries to the next stage; says how the pull ended when a status tells.
    async fn hand_on(
        &mut self,
        chunk: &mut Vec<Message>,
        reservation: &mut Reservation,
        last_consumer_seq: &mut u64,
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
        // One subscription sees them in order. When they count from the start again, what was
        // acked through the old consumer comes again as if for the first time.
        for ack in &acks {
            if ack.consumer_seq <= *last_consumer_seq {
                return Some(Err(PullError::ConsumerAnew));
            }
            *last_consumer_seq = ack.consumer_seq;
        }
        // A request that went out over a new connection has messages come that a server sends
        // which may have forgotten what it delivered.
        if self.source.connects != connect_count(&self.client) {
            return Some(Err(PullError::ConnectionAnew));
        }
        self.count(chunk, &acks);
        if let (Some(pinned), Some(message)) = (&mut self.pinned, chunk.first()) {
            pinned.learn(message);
            let max_deliver = self.settings.consumer.max_deliver;
            pinned.floor().delivered(&acks, max_deliver);
        }
        let mut arrived = Arrived {
            consumer_seq: Some(*last_consumer_seq),
            ..Arrived::now(self.deliveries(chunk, acks, reservation))
        };
        if let Some(until) = self.source.unsettled_until {
            arrived = self.hold_back(arrived, until);
        }
        if !arrived.deliveries.is_empty() && self.deliveries.send(arrived).await.is_err() {
            // Only when the pipeline is torn down; the leases drop.
            return Some(Ok(End::Stopped));
        }
        end
    }

    /// Holds back what another instance may still insert, until it cannot any more: what it
    /// has inserted is then found before it is inserted here. Returns the others.
    fn hold_back(&self, arrived: Arrived, until: Instant) -> Arrived {
        if until <= Instant::now() {
            return arrived;
        }
        let is_settled =
            |delivery: &Delivery| delivery.position.stream_seq > self.source.may_be_stored_to_seq;
        let (settled, unsettled): (Vec<_>, _) =
            arrived.deliveries.into_iter().partition(is_settled);
        // By then the consumer has delivered others, so their sequence tells no pace.
        let unsettled = Arrived {
            consumer_seq: None,
            deliveries: unsettled,
            ..arrived
        };
        if !unsettled.deliveries.is_empty() {
            let (next, shutdown) = (self.deliveries.clone(), self.shutdown.clone());
            tokio::spawn(async move {
                let over = shutdown.run_until_cancelled(sleep_until(until));
                if over.await.is_some() {
                    // As above; at a stop they are delivered again.
                    let _ = next.send(unsettled).await;
                }
            });
        }
        Arrived {
            deliveries: settled,
            ..arrived
        }
    }

    fn count(&self, messages: &[Message], acks: &[AckSubject]) {
        let bytes: usize = messages.iter().map(|message| message.length).sum();
        let again = acks.iter().filter(|ack| ack.delivered > 1).count();
        self.metrics
            .received(messages.len() as u64, bytes as u64, again as u64);
    }

    fn deliveries(
        &self,
        messages: &mut Vec<Message>,
        acks: Vec<AckSubject>,
        reservation: &mut Reservation,
    ) -> Vec<Delivery> {
        let Source {
            stream_created_ns,
            may_be_stored_to_seq,
            ..
        } = self.source;
        let replies = messages.iter_mut().filter_map(|message| {
            let reply = message.reply.take()?;
            Some((reply, message.length))
        });
        let leases = reservation.leases(replies);
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
                },
                published_at_ms: ack.published_ns / 1_000_000,
                attempt: ack.delivered,
                may_be_stored: ack.delivered > 1 || ack.stream_seq <= may_be_stored_to_seq,
                lease,
            })
            .collect()
    }
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

/// Tells of a new epoch, and what it costs.
fn tell_of(source: &Source) {
    let left = source
        .unsettled_until
        .map(|until| until.saturating_duration_since(Instant::now()));
    info!(
        wait_ms = left.unwrap_or_default().as_millis() as u64,
        to_stream_seq = source.may_be_stored_to_seq,
        "NATS was restarted, or the consumer made anew: older messages wait until what was delivered before has landed or is given up"
    );
}

/// What the reply says of a delivery; `None` for a message that did not come from JetStream.
fn ack_subject(message: &Message) -> Option<AckSubject> {
    let ack = AckSubject::parse(message.reply.as_ref()?);
    if ack.is_none() {
        warn!(subject = %message.subject, "Message from outside JetStream on the pull's inbox; it is ignored");
    }
    ack
}
