//! What happened to signals, as log lines that do not grow with the load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tracing::{info, warn};

use crate::settings::Log;

use super::metrics::Metrics;
use super::recent::Recent;

/// The target of these lines, which have a bound of their own.
pub(super) const TARGET: &str = module_path!();

/// A batch that ClickHouse has committed.
#[derive(Debug, Clone, Copy)]
pub struct Inserted {
    /// Its rows.
    pub count: usize,
    /// Rows committed since the start, this batch included.
    pub total: u64,
    /// Encoded bytes, before compression.
    pub bytes: usize,
    /// From the first byte sent to the answer.
    pub duration: Duration,
    /// When JetStream stored its oldest message: milliseconds since the epoch.
    pub oldest_published_ms: i64,
    /// Why it had closed.
    pub close_reason: &'static str,
}

/// A message that its dead letter has replaced.
#[derive(Debug, Clone)]
pub struct DeadLettered {
    /// The reason's code.
    pub reason: &'static str,
    /// The reason in words.
    pub error: String,
    /// The subject it was published on.
    pub subject: String,
    /// Its sequence in the stream of signals.
    pub stream_seq: u64,
    /// The letter's sequence in the stream of dead letters.
    pub dead_letter_seq: u64,
}

/// One line for each batch and each dead letter, and under load a summary instead; and what
/// the metrics count of each.
#[derive(Debug)]
pub struct EventLog {
    metrics: Arc<Metrics>,
    recent: Arc<Recent>,
    lines_per_second: u32,
    summary_interval: Duration,
    second_began: Instant,
    lines_this_second: u32,
    batches: Batches,
    already_stored: usize,
    dead_letters: BTreeMap<&'static str, u64>,
}

/// The batches that had no line of their own.
#[derive(Debug, Default)]
struct Batches {
    batches: u64,
    count: usize,
    total: u64,
    bytes: usize,
    insert_sum: Duration,
    insert_max: Duration,
    oldest_age_ms_max: i64,
}

impl EventLog {
    /// A log with the operator's bounds.
    pub fn new(log: &Log, metrics: Arc<Metrics>, recent: Arc<Recent>) -> Self {
        Self {
            metrics,
            recent,
            lines_per_second: log.lines_per_second,
            summary_interval: log.summary_interval,
            second_began: Instant::now(),
            lines_this_second: 0,
            batches: Batches::default(),
            already_stored: 0,
            dead_letters: BTreeMap::new(),
        }
    }

    /// Bounds the lines from now on.
    pub fn set_bounds(&mut self, log: &Log) {
        self.lines_per_second = log.lines_per_second;
        self.summary_interval = log.summary_interval;
    }

    /// How often [`EventLog::summarize`] is due.
    pub fn summary_interval(&self) -> Duration {
        self.summary_interval
    }

    /// Tells of a batch, now or in the next summary.
    pub fn inserted(&mut self, batch: &Inserted) {
        self.metrics.inserted(batch);
        self.recent.inserted(batch);
        let oldest_age_ms = age_ms(batch.oldest_published_ms);
        if !self.has_line() {
            self.batches.add(batch, oldest_age_ms);
            return;
        }
        info!(
            count = batch.count,
            total = batch.total,
            bytes = batch.bytes,
            insert_ms = ms(batch.duration),
            oldest_age_ms,
            closed_by = batch.close_reason,
            "Inserted batch to ClickHouse"
        );
    }

    /// Tells of rows that were left out of an insert, since ClickHouse had them.
    pub fn already_stored(&mut self, count: usize) {
        self.metrics.signals_duplicate_total.inc_by(count as u64);
        if self.has_line() {
            info!(count, "Acked signals that ClickHouse had already");
        } else {
            self.already_stored += count;
        }
    }

    /// Tells of a dead letter, now or in the next summary.
    pub fn dead_lettered(&mut self, letter: &DeadLettered) {
        self.metrics.dead_lettered(letter.reason);
        self.recent.dead_lettered(letter);
        if !self.has_line() {
            *self.dead_letters.entry(letter.reason).or_default() += 1;
            return;
        }
        warn!(
            reason = letter.reason,
            error = letter.error,
            subject = letter.subject,
            stream_seq = letter.stream_seq,
            dead_letter_seq = letter.dead_letter_seq,
            "Message went to the dead letters"
        );
    }

    /// Tells of what was held back, if anything.
    pub fn summarize(&mut self) {
        let held = std::mem::take(&mut self.batches);
        if held.batches > 0 {
            info!(
                batches = held.batches,
                count = held.count,
                total = held.total,
                bytes = held.bytes,
                insert_ms_mean = ms(held.insert_sum / u32::try_from(held.batches).unwrap_or(1)),
                insert_ms_max = ms(held.insert_max),
                oldest_age_ms_max = held.oldest_age_ms_max,
                "Inserted batches to ClickHouse"
            );
        }
        match std::mem::take(&mut self.already_stored) {
            0 => {}
            count => info!(count, "Acked signals that ClickHouse had already"),
        }
        for (reason, count) in std::mem::take(&mut self.dead_letters) {
            warn!(reason, count, "Messages went to the dead letters");
        }
    }

    /// Whether this second has a line left.
    fn has_line(&mut self) -> bool {
        if self.second_began.elapsed() >= Duration::from_secs(1) {
            self.second_began = Instant::now();
            self.lines_this_second = 0;
        }
        self.lines_this_second = self.lines_this_second.saturating_add(1);
        self.lines_this_second <= self.lines_per_second
    }
}

impl Batches {
    fn add(&mut self, batch: &Inserted, oldest_age_ms: i64) {
        self.batches += 1;
        self.count += batch.count;
        self.total = batch.total;
        self.bytes += batch.bytes;
        self.insert_sum += batch.duration;
        self.insert_max = self.insert_max.max(batch.duration);
        self.oldest_age_ms_max = self.oldest_age_ms_max.max(oldest_age_ms);
    }
}

/// Milliseconds with one decimal, since a small batch takes about one.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn age_ms(published_ms: i64) -> i64 {
    let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(now_ms)
        .unwrap_or(i64::MAX)
        .saturating_sub(published_ms)
}
