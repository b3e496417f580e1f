//! Sequences right above the log's floor that no delivery brings: those without a message, and
//! those in doubt whose messages were acked long ago. And a stream that went back.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::claiming::ClaimingError;
use crate::pipeline::batching::open_batch::{BatchBounds, OpenBatch};
use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::{InFlight, Lease};
use crate::pipeline::log_lines::{LOOKING_UP, STREAM_WENT_BACK};
use crate::pipeline::port::signals::{SignalStream, StreamState};
use crate::pipeline::stage::encode::encode;
use crate::pipeline::stage::expired::Expired;
use crate::pipeline::stage::insert::Insert;
use crate::reload::SettingsHandle;
use crate::settings::Settings;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that are looked up together.
const MESSAGES: u64 = 500;
/// Bytes of them, roughly.
const BYTES: usize = 4 * 1024 * 1024;
/// Messages that are read from the stream at once.
const READS: usize = 16;

/// The task that looks after such sequences.
pub struct Absent {
    pub insert: Insert,
    pub signals: Arc<dyn SignalStream>,
    pub settings: Arc<Settings>,
    pub in_force: SettingsHandle,
    pub in_flight: &'static InFlight,
}

/// The last claimed message at a look. The consumer had delivered everything below by then, so that
/// it is held by an instance, and no more on its way there, at the next look.
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
        let mut expired = Expired::new(&self.settings.stream.name, &self.insert.ops);
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.insert.heartbeat.waiting(ticks.tick()).await;
            let ready = self.insert.process.ready();
            self.insert.heartbeat.waiting(ready).await;
            expired.forget_old();
            if let Err(error) = self.raise(&mut before, &mut expired).await {
                warn!(%error, "The floor of the claims log was not looked after; trying again");
            }
        }
    }

    /// Raises the floor as far as it goes, up to what was claimed `before`.
    async fn raise(
        &self,
        before: &mut Claimed,
        expired: &mut Expired,
    ) -> Result<(), ClaimingError> {
        let process = &self.insert.process;
        let mut until = None;
        loop {
            self.insert.heartbeat.step();
            let stream = self.signals.state().await?;
            let created = stream.created_ns;
            if process.with(|instance| instance.has_gone_back(created)) {
                return self.rewind(created).await;
            }
            let (stuck, last) = process.with(|instance| {
                let log = instance.log();
                (log.stuck_sequences(created), log.last(created))
            });
            let now = Claimed { created, last };
            let until = *until.get_or_insert_with(|| before.replaced_by(now));
            let Some(stuck) = stuck else { return Ok(()) };
            let stuck = *stuck.start()..=until.min(*stuck.end());
            if stuck.is_empty() || !self.pass(stream, stuck, expired).await? {
                return Ok(());
            }
        }
    }

    /// Has the log forget what a stream that went back has no more. What may be stored is looked up
    /// before it is claimed.
    async fn rewind(&self, created: i64) -> Result<(), ClaimingError> {
        let process = &self.insert.process;
        let last = process.with(|instance| instance.log().last(created));
        let to = self.signals.agreed(created, last).await?;
        let id = process.nonce();
        match process.with(|instance| instance.rewind(id, to)) {
            Some(record) => {
                self.insert.heartbeat.waiting(process.append(record)).await;
                error!(
                    stream = self.settings.stream.name,
                    to = to.stream_seq,
                    claimed = last,
                    "{STREAM_WENT_BACK}"
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
        stream: StreamState,
        stuck: RangeInclusive<u64>,
        expired: &mut Expired,
    ) -> Result<bool, ClaimingError> {
        let (first, last) = stuck.into_inner();
        let created = stream.created_ns;
        let next = self.signals.next(first).await?;
        // A sequence above the stream's last one may get a message yet.
        let end = next.map_or(stream.last_seq, |next| next - 1);
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
            let is_reported = self.report(created, first..=end, expired).await;
            return Ok(is_reported && end < last && held.is_empty());
        }
        let floor = self.signals.ack_floor().await?;
        // What is not acked is delivered, and claimed then.
        let last = last.min(floor).min(stream.last_seq);
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
            info!(first, end, count, "{LOOKING_UP}");
            self.insert.land(batch).await;
        }
        Ok(end < last || last < floor)
    }

    /// Reports that sequences have no message; says whether it could.
    async fn report(
        &self,
        created: i64,
        range: RangeInclusive<u64>,
        expired: &mut Expired,
    ) -> bool {
        let process = &self.insert.process;
        let (id, first, last) = (process.nonce(), *range.start(), *range.end());
        let (record, doubt) = process.with(|instance| {
            let record = instance.absent(id, created, first, last);
            (record, instance.log().doubt(created))
        });
        let Some(record) = record else { return false };
        self.insert.heartbeat.waiting(process.append(record)).await;
        // Those in doubt may be stored.
        expired.note(first.max(doubt.saturating_add(1))..=last);
        true
    }

    /// The messages of a range as a batch, the sequences that have none, and the last sequence that
    /// was read: fewer than asked for where the messages are large.
    async fn batch(
        &self,
        created: i64,
        range: RangeInclusive<u64>,
    ) -> Result<(Option<ClosedBatch>, Vec<u64>, u64), ClaimingError> {
        let mut end = *range.end();
        let reads = stream::iter(range).map(|seq| async move {
            let found = self.signals.message(seq).await?;
            Ok::<_, ClaimingError>((seq, found))
        });
        let mut reads = reads.buffered(READS);
        let mut batch = OpenBatch::new(BatchBounds {
            max_rows: usize::MAX,
            max_bytes: BYTES,
        });
        let settings = Arc::clone(&self.in_force.borrow());
        let (mut gone, mut bytes) = (Vec::new(), 0);
        while let Some((seq, message)) = reads.try_next().await? {
            self.insert.heartbeat.step();
            let Some(message) = message else {
                gone.push(seq);
                continue;
            };
            let headers = message.headers.as_ref().map_or(0, |one| one.bytes().len());
            bytes += message.body.len() + headers;
            let lease = Lease::none();
            let delivery = Delivery::of_stored(message, created, 1, lease);
            let limits = &settings.validation;
            // Not counted: they may have been before.
            batch.push(delivery, |delivery, rows| {
                encode(delivery, limits, rows, |_| ())
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

#[cfg(test)]
mod tests;
