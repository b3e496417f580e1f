//! Sequences right above the log's floor that no delivery brings: those without a message, and
//! those in doubt whose messages were acked long ago. And a stream that went back.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::claiming::ClaimingError;
use crate::jetstream::consumer;
use crate::jetstream::stored;
use crate::reload::InForce;
use crate::settings::Settings;

use super::batch::{Bounds, CloseReason, ClosedBatch, OpenBatch};
use super::decode::encode;
use super::delivery::Delivery;
use super::in_flight::{InFlight, Lease};
use super::insert::Insert;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that are looked up together.
const MESSAGES: u64 = 500;
/// Bytes of them, roughly.
const BYTES: usize = 4 * 1024 * 1024;
/// Messages that are read from the stream at once.
const READS: usize = 16;

/// The task that looks after such sequences.
pub(super) struct Absent {
    pub insert: Insert,
    pub context: Context,
    pub settings: Arc<Settings>,
    pub in_force: InForce,
    pub in_flight: Arc<InFlight>,
}

/// The last claimed message at a look. The consumer had delivered everything below by then, so that it is
/// held by an instance, and no more on its way there, at the next look.
#[derive(Debug, Clone, Copy, Default)]
struct Claimed {
    /// Creation of the stream: nanoseconds since the epoch.
    created: i64,
    /// The last sequence.
    last: u64,
}

impl Claimed {
    /// The last sequence at the look before, of the same stream.
    fn replaced_by(&mut self, now: Self) -> u64 {
        let before = std::mem::replace(self, now);
        if before.created == now.created {
            before.last
        } else {
            0
        }
    }
}

impl Absent {
    /// Looks after them until shutdown.
    pub async fn run(self) {
        let shutdown = self.insert.shutdown.clone();
        shutdown.run_until_cancelled(self.look()).await;
    }

    async fn look(&self) {
        let mut before = Claimed::default();
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.insert.pulse.waiting(ticks.tick()).await;
            let ready = self.insert.process.ready();
            self.insert.pulse.waiting(ready).await;
            if let Err(error) = self.raise(&mut before).await {
                warn!(%error, "The floor of the claims log was not looked after; trying again");
            }
        }
    }

    /// Raises the floor as far as it goes, up to what was claimed `before`.
    async fn raise(&self, before: &mut Claimed) -> Result<(), ClaimingError> {
        let process = &self.insert.process;
        let mut until = None;
        loop {
            self.insert.pulse.step();
            let stream = self.insert.servers.stream_info().await?;
            let created = super::unix_nanos(stream.created);
            if process.with(|instance| instance.has_gone_back(created)) {
                return self.rewind(created).await;
            }
            let (stuck, last) = process.with(|instance| {
                let log = instance.log();
                (log.stuck(created), log.last(created))
            });
            let now = Claimed { created, last };
            let until = *until.get_or_insert_with(|| before.replaced_by(now));
            let Some(stuck) = stuck else { return Ok(()) };
            let stuck = *stuck.start()..=until.min(*stuck.end());
            if stuck.is_empty() || !self.pass(created, &stream, stuck).await? {
                return Ok(());
            }
        }
    }

    /// Has the log forget what a stream that went back has no more. What may be stored is looked up
    /// before it is claimed.
    async fn rewind(&self, created: i64) -> Result<(), ClaimingError> {
        let process = &self.insert.process;
        let last = process.with(|instance| instance.log().last(created));
        let to = self.insert.servers.agreed(created, last).await?;
        let id = process.nonce();
        match process.with(|instance| instance.rewind(id, to)) {
            Some(record) => {
                self.insert.pulse.waiting(process.append(record)).await;
                error!(
                    stream = self.settings.stream.name,
                    to = to.stream_seq,
                    claimed = last,
                    "The stream of signals went back: it was restored, or lost its last messages; messages above `to` are looked up and landed again where they are not stored"
                );
            }
            None => info!(
                "The stream of signals went back; claims of its lost messages are settled first"
            ),
        }
        Ok(())
    }

    /// Passes sequences that have no message, or whose messages the consumer does not deliver any
    /// more; reports whether the floor may go on.
    async fn pass(
        &self,
        created: i64,
        stream: &Info,
        stuck: RangeInclusive<u64>,
    ) -> Result<bool, ClaimingError> {
        let (first, last) = stuck.into_inner();
        let name = &self.settings.stream.name;
        let next = stored::next_on_subject(&self.context, name, first, ">").await?;
        // A sequence above the stream's last one may get a message yet.
        let end = next.map_or(stream.state.last_sequence, |next| next.sequence - 1);
        if end >= first {
            // What retention removed while it is held here is stored once it is claimed.
            let held = self
                .in_flight
                .held_within(created, &(first..=end.min(last)));
            let end = held.first().map_or(end.min(last), |held| held - 1);
            if end < first {
                return Ok(false);
            }
            // The log may have to be checked first.
            let is_reported = self.report(created, first..=end).await;
            return Ok(is_reported && end < last && held.is_empty());
        }
        let consumer = consumer::find(&self.context, name, &self.settings.consumer.name).await?;
        let floor = consumer.map_or(0, |consumer| consumer.ack_floor.stream_sequence);
        // What is not acked is delivered, and claimed then.
        let last = last.min(floor).min(stream.state.last_sequence);
        let last = last.min(first.saturating_add(MESSAGES - 1));
        if last < first {
            return Ok(false);
        }
        let (batch, mut gone, end) = self.batch(created, first..=last).await?;
        let held = self.in_flight.held_within(created, &(first..=end));
        gone.retain(|seq| !held.contains(seq));
        self.insert.report_absent(created, gone).await;
        if let Some(batch) = batch {
            let count = batch.len();
            info!(
                first,
                end,
                count,
                "Looking up messages that are in doubt, or were acked without a claim; those that are stored nowhere land now"
            );
            self.insert.land(batch).await;
        }
        Ok(end < last || last < floor)
    }

    /// Reports that sequences have no message; says whether it could.
    async fn report(&self, created: i64, range: RangeInclusive<u64>) -> bool {
        let process = &self.insert.process;
        let (id, first, last) = (process.nonce(), *range.start(), *range.end());
        let record = process.with(|instance| instance.absent(id, created, first, last));
        let Some(record) = record else { return false };
        self.insert.pulse.waiting(process.append(record)).await;
        true
    }

    /// The messages of a range as a batch, the sequences that have none, and the last sequence that
    /// was read: fewer than asked for where the messages are large.
    async fn batch(
        &self,
        created: i64,
        range: RangeInclusive<u64>,
    ) -> Result<(Option<ClosedBatch>, Vec<u64>, u64), ClaimingError> {
        let name = &self.settings.stream.name;
        let mut end = *range.end();
        let reads = stream::iter(range).map(|seq| async move {
            let found = stored::message(&self.context, name, seq).await?;
            Ok::<_, ClaimingError>((seq, found))
        });
        let mut reads = reads.buffered(READS);
        let mut batch = OpenBatch::new(Bounds {
            max_rows: usize::MAX,
            max_bytes: BYTES,
        });
        let settings = Arc::clone(&self.in_force.borrow());
        let (mut gone, mut bytes) = (Vec::new(), 0);
        while let Some((seq, message)) = reads.try_next().await? {
            self.insert.pulse.step();
            let Some(message) = message else {
                gone.push(seq);
                continue;
            };
            let headers = message.headers.as_ref().map_or(0, |one| one.bytes().len());
            bytes += message.body.len() + headers;
            let lease = Lease::none(&self.in_flight);
            let delivery = Delivery::of_stored(message, created, 1, lease);
            let limits = &settings.validation;
            // Not counted: they may have been before.
            batch.push(delivery, |delivery, rows| {
                encode(delivery, limits, rows).map(drop)
            });
            // Messages that are no signals have no row.
            if bytes >= BYTES || batch.full().is_some() {
                end = seq;
                break;
            }
        }
        Ok((batch.close(CloseReason::Drain), gone, end))
    }
}
