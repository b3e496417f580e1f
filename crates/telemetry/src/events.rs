//! Committed batches and dead letters as log lines that do not grow with the load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::now_ms;
use tracing::{info, warn};

use crate::log_lines::{DEAD_LETTER, FOUND_STORED, INSERTED, INSERTED_MANY};
use crate::options::LogOptions;

use super::event_metrics::EventMetrics;
use super::happened::{DeadLetteredEvent, Inserted};
use super::recent::Recent;

/// The target of these lines, which have a bound of their own.
pub(super) const TARGET: &str = module_path!();

/// One line for each batch and each dead letter, and under load a summary instead; and what
/// the metrics count of each.
#[derive(Debug)]
pub struct EventLog {
    metrics: EventMetrics,
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
    pub fn new(log: &LogOptions, metrics: EventMetrics, recent: Arc<Recent>) -> Self {
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
    pub fn set_bounds(&mut self, log: &LogOptions) {
        self.lines_per_second = log.lines_per_second;
        self.summary_interval = log.summary_interval;
    }

    /// Time between two calls of [`EventLog::summarize`].
    pub fn summary_interval(&self) -> Duration {
        self.summary_interval
    }

    /// Logs a batch, now or in the next summary.
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
            "{INSERTED}"
        );
    }

    /// Logs rows that were left out of an insert, since ClickHouse had them.
    pub fn already_stored(&mut self, count: usize) {
        self.metrics.signals_duplicate_total.inc_by(count as u64);
        if self.has_line() {
            info!(count, "{FOUND_STORED}");
        } else {
            self.already_stored += count;
        }
    }

    /// Logs a dead letter, now or in the next summary.
    pub fn dead_lettered(&mut self, letter: &DeadLetteredEvent) {
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
            "{DEAD_LETTER}"
        );
    }

    /// Logs the events that were held back, if there are any.
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
                "{INSERTED_MANY}"
            );
        }
        match std::mem::take(&mut self.already_stored) {
            0 => {}
            count => info!(count, "{FOUND_STORED}"),
        }
        for (reason, count) in std::mem::take(&mut self.dead_letters) {
            warn!(reason, count, "Messages went to the dead letters");
        }
    }

    /// Takes a line of this second; false when none is left.
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
    now_ms().saturating_sub(published_ms)
}
