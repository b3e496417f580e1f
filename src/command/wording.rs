//! Wording of a daemon's figures in `risksignal status` and `risksignal top`.

use std::time::Duration;

use bytesize::ByteSize;
use indicatif::HumanCount;
use metric_kit::{Distribution, MetricValues};

use crate::ops::health::Latch;
use crate::ops::status::Status;

/// Placeholder for a missing figure.
pub(super) const NOTHING: &str = "–";

/// Sums the series of a counter or a gauge, by its name after `risksignal_`.
pub(super) fn count(metrics: &MetricValues, name: &str) -> HumanCount {
    HumanCount(metrics.total(name) as u64)
}

/// Describes messages and bytes between a pull and its ack.
pub(super) fn in_flight(metrics: &MetricValues) -> String {
    let bytes = ByteSize(metrics.total("in_flight_bytes") as u64);
    format!("{}, {bytes}", count(metrics, "in_flight_messages"))
}

/// Describes the age of the oldest unacked message.
pub(super) fn oldest_age(metrics: &MetricValues) -> String {
    time(metrics.total("consumer_oldest_age_seconds"))
}

/// Describes the median of some times, and their slow end.
pub(super) fn quantiles(times: &Distribution) -> String {
    let quantile = |share| times.quantile(share).map_or(NOTHING.to_owned(), time);
    format!("p50 {}, p99 {}", quantile(0.5), quantile(0.99))
}

/// Describes the time that a dependency has been in its state.
pub(super) fn lasted(status: &Status, latch: &Latch) -> String {
    time((status.now - latch.since).as_seconds_f64())
}

/// Formats a time in at most two units, and below a second in milliseconds.
pub(super) fn time(seconds: f64) -> String {
    if seconds > 0.0 && seconds < 1.0 {
        let digits = if seconds < 0.01 { 1 } else { 0 };
        return format!("{:.digits$} ms", seconds * 1000.0);
    }
    let seconds = Duration::from_secs(seconds.max(0.0) as u64);
    let text = humantime::format_duration(seconds).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_short() {
        for (seconds, expected) in [
            (-1.0, "0s"),
            (0.0, "0s"),
            (0.0023, "2.3 ms"),
            (0.25, "250 ms"),
            (61.7, "1m 1s"),
            (90_061.0, "1day 1h"),
        ] {
            assert_eq!(time(seconds), expected);
        }
    }
}
