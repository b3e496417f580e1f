//! Progress: a bar on a terminal, log lines elsewhere.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use tracing::info;

use super::report::ProduceReport;

const LOG_INTERVAL: Duration = Duration::from_secs(5);
const BAR: &str = "{wide_bar} {human_pos} of {human_len} signals, {rate}, {eta} left {msg}";
const SPINNER: &str = "{spinner} {human_pos} signals, {rate} {msg}";

/// Shows the progress.
pub(super) enum ProgressLine {
    Bar(ProgressBar),
    Log { logged_at: Instant, answered: u64 },
}

impl ProgressLine {
    /// Creates a bar if standard error is a terminal; `None` is an unknown total.
    pub(super) fn new(total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Log {
                logged_at: Instant::now(),
                answered: 0,
            };
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if total.is_some() { BAR } else { SPINNER };
        Self::Bar(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.with_key("rate", write_rate)),
            Err(_) => bar,
        })
    }

    /// Shows the state at `now`.
    pub(super) fn show(&mut self, report: &ProduceReport, pending: usize, now: Instant) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(report.answered());
                if report.rejected > 0 {
                    bar.set_message(format!("({} rejected)", HumanCount(report.rejected)));
                }
            }
            Self::Log {
                logged_at,
                answered,
            } => {
                let since = now.saturating_duration_since(*logged_at);
                if since < LOG_INTERVAL {
                    return;
                }
                let done = report.answered() - *answered;
                info!(
                    accepted = report.accepted,
                    duplicates = report.duplicates,
                    rejected = report.rejected,
                    pending,
                    per_second = (done as f64 / since.as_secs_f64()).round(),
                    "Publishing signals"
                );
                (*logged_at, *answered) = (now, report.answered());
            }
        }
    }

    /// Removes the bar before the summary.
    pub(super) fn finish(&self, report: &ProduceReport) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Log { .. } => info!(
                accepted = report.accepted,
                duplicates = report.duplicates,
                rejected = report.rejected,
                unconfirmed = report.unconfirmed,
                elapsed_ms = report.elapsed.as_millis() as u64,
                "Published signals"
            ),
        }
    }
}

fn write_rate(state: &ProgressState, text: &mut dyn Write) {
    let rate = HumanCount(state.per_sec().round() as u64);
    // A bar that cannot be drawn stops nothing.
    let _ = write!(text, "{rate} signals/s");
}
