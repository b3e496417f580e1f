//! Time of day in the form of signals.

use time::OffsetDateTime;

/// Returns the time of day in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Returns nanoseconds since the epoch.
pub fn unix_nanos(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
