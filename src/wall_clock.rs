//! The time of day as signals tell it.

use time::OffsetDateTime;

/// The time of day in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(ms).unwrap_or(i64::MAX)
}
