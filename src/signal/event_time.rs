//! When a signal happened: RFC 3339 with any offset, or integer milliseconds.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// 1900-01-01T00:00:00.000Z, the first millisecond that ClickHouse's `DateTime64` holds:
/// <https://clickhouse.com/docs/sql-reference/data-types/datetime64>.
pub const EVENT_TIME_MS_MIN: i64 = -2_208_988_800_000;
/// 2299-12-31T23:59:59.999Z, the last one.
pub const EVENT_TIME_MS_MAX: i64 = 10_413_791_999_999;

/// Milliseconds since the epoch of an RFC 3339 text, what is finer cut off; `None` when it
/// is no such text.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = time.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_offset_becomes_utc_milliseconds() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-05-02T12:19:59.000Z", Some(1_683_029_999_000)),
            ("2023-05-02T14:19:59+02:00", Some(1_683_029_999_000)),
            ("2023-05-02T06:49:59.5-05:30", Some(1_683_029_999_500)),
            ("1969-12-31T23:59:59.9999Z", Some(-1)),
            ("1900-01-01T00:00:00Z", Some(EVENT_TIME_MS_MIN)),
            ("2299-12-31T23:59:59.999999Z", Some(EVENT_TIME_MS_MAX)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800_000)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_999)),
            ("2023-05-02 12:19:59", None),
            ("2023-05-02T12:19:59", None),
            ("2023-02-30T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(from_rfc3339(text), ms, "{text}");
        }
    }
}
