//! How far it is: a bar on a terminal, log lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use super::report::ProduceReport;

const LOG_INTERVAL: Duration = Duration::from_secs(5);
const BAR: &str = "{wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left {msg}";
const SPINNER: &str = "{spinner} {human_pos} signals, {per_sec} {msg}";

/// Shows how far it is.
pub(super) enum Progress {
    Bar(ProgressBar),
    Log { logged_at: Instant, answered: u64 },
}

impl Progress {
    /// A bar when standard error is a terminal; `total` is unknown for `None`.
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
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Shows the state at `now`.
    pub(super) fn show(&mut self, report: &ProduceReport, pending: usize, now: Instant) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(report.answered());
                if report.rejected > 0 {
                    bar.set_message(format!("({} rejected)", report.rejected));
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

    /// Takes the bar away; the summary follows it.
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
