//! A bound on the log lines of one kind: a fault may repeat faster than anybody reads.
//!
//! A kind is one place in the code. Batches and dead letters have a summary of their own
//! (`events`), and lines of debugging are asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::options::LogOptions;

use super::events;

/// The target of lines that are never left out: each names messages that are lost.
pub const LOSSES: &str = "risksignal::losses";

/// Lets at most `log.lines_per_second` lines of a kind pass in each `log.summary_interval`, and
/// at least one. Clones share what they count.
#[derive(Debug, Clone)]
pub struct Repeats(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    lines_max: u32,
    interval: Duration,
    kinds: HashMap<Identifier, Kind>,
}

/// The lines of one place in the code since its interval began.
#[derive(Debug)]
struct Kind {
    began: Instant,
    passed: u32,
    left_out: u64,
    is_warning: bool,
    message: String,
}

impl Repeats {
    /// With the operator's bounds.
    pub fn new(log: &LogOptions) -> Self {
        Self(Arc::new(Mutex::new(State {
            lines_max: log.lines_per_second.max(1),
            interval: log.summary_interval,
            kinds: HashMap::new(),
        })))
    }

    /// Bounds the lines from now on.
    pub fn set_bounds(&self, log: &LogOptions) {
        let mut state = self.lock();
        state.lines_max = log.lines_per_second.max(1);
        state.interval = log.summary_interval;
    }

    /// Logs the number of lines of each kind that were left out, in each interval; never ends.
    pub async fn summarize(self) {
        loop {
            let interval = self.lock().interval;
            tokio::time::sleep(interval).await;
            self.summary();
        }
    }

    /// Logs the number of lines of each kind that were left out since the last summary.
    pub fn summary(&self) {
        for (left_out, is_warning, line) in self.left_out() {
            if is_warning {
                warn!(left_out, line, "Lines that repeat were left out");
            } else {
                info!(left_out, line, "Lines that repeat were left out");
            }
        }
    }

    fn left_out(&self) -> Vec<(u64, bool, String)> {
        let mut state = self.lock();
        let kinds = state.kinds.values_mut().filter(|kind| kind.left_out > 0);
        kinds
            .map(|kind| {
                let left_out = std::mem::take(&mut kind.left_out);
                (left_out, kind.is_warning, kind.message.clone())
            })
            .collect()
    }

    /// Counts a line of a kind; reports whether it passes.
    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        let mut state = self.lock();
        let (lines_max, interval) = (state.lines_max, state.interval);
        let kind = state
            .kinds
            .entry(metadata.callsite())
            .or_insert_with(|| Kind {
                began: now,
                passed: 0,
                left_out: 0,
                is_warning: *metadata.level() <= Level::WARN,
                message: String::new(),
            });
        if now.saturating_duration_since(kind.began) >= interval {
            (kind.began, kind.passed) = (now, 0);
        }
        if kind.passed < lines_max {
            kind.passed += 1;
            return true;
        }
        if kind.left_out == 0 {
            kind.message.clear();
            event.record(&mut Message(&mut kind.message));
        }
        kind.left_out += 1;
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO
            || metadata.target() == events::TARGET
            || metadata.target() == LOSSES
            || metadata.target() == module_path!()
            || self.passes(event, Instant::now())
    }
}

/// Takes the message of a line.
struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::prelude::*;

    use super::*;

    /// Counts the lines that get through.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn lines_of_one_kind_are_bounded_and_counted() {
        let mut log = LogOptions::default();
        (log.lines_per_second, log.summary_interval) = (3, Duration::from_secs(3600));
        let (repeats, lines) = (Repeats::new(&log), Lines::default());
        let registry = tracing_subscriber::registry();
        let count = || lines.0.load(Ordering::Relaxed);
        let registry = registry.with(repeats.clone()).with(lines.clone());
        tracing::subscriber::with_default(registry, || {
            (0..10).for_each(same_fault);
            assert_eq!(count(), 3);
            for _ in 0..5 {
                tracing::debug!("asked for");
            }
            info!("another kind");
            assert_eq!(count(), 9);
            for _ in 0..5 {
                tracing::error!(target: LOSSES, "each is of its own");
            }
            assert_eq!(count(), 14);
            let left_out = repeats.left_out();
            assert_eq!(left_out, [(7, true, "the same fault".to_owned())]);
            assert!(repeats.left_out().is_empty());
            // In the next interval they pass again.
            repeats.lock().interval = Duration::ZERO;
            same_fault(10);
            assert_eq!(count(), 15);
        });
    }

    fn same_fault(number: u32) {
        warn!(number, "the same fault");
    }
}
