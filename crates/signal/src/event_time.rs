//! Time of a signal: RFC 3339 with any offset, or integer milliseconds.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// 1900-01-01T00:00:00.000Z, the first millisecond that ClickHouse's `DateTime64` holds:
/// <https://clickhouse.com/docs/sql-reference/data-types/datetime64>.
pub const EVENT_TIME_MS_MIN: i64 = -2_208_988_800_000;
/// 2299-12-31T23:59:59.999Z, the last such millisecond.
pub const EVENT_TIME_MS_MAX: i64 = 10_413_791_999_999;

/// Converts an RFC 3339 text to milliseconds since the epoch, truncated; `None` for any other text.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = time.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(ms).ok()
}

/// Converts the plain form `YYYY-MM-DDTHH:MM:SS[.fff…](Z|±hh:mm)` quickly; `None` for anything
/// else, including leap seconds, which [`from_rfc3339`] may still accept.
pub fn from_plain_rfc3339(text: &str) -> Option<i64> {
    let (head, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = *head
    else {
        return None;
    };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(mo1, mo2)?, two(d1, d2)?);
    let (hour, minute, second) = (two(h1, h2)?, two(mi1, mi2)?, two(s1, s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ms, offset) = match rest.split_first()? {
        (b'.', rest) => fraction_ms(rest)?,
        _ => (0, rest),
    };
    let minutes = (days(year, month, day)? * 24 + hour) * 60 + minute - offset_minutes(offset)?;
    Some((minutes * 60 + second) * 1000 + fraction_ms)
}

/// Returns the number of two decimal digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// Returns the milliseconds of the digits after the point, and the rest of the text.
fn fraction_ms(text: &[u8]) -> Option<(i64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let mut ms = 0;
    for place in 0..3 {
        ms = ms * 10 + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    (!digits.is_empty()).then_some((ms, rest))
}

/// Returns the minutes that a local time is ahead of UTC.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (sign, [h1, h2, b':', m1, m2]) = (match text {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    }) else {
        return None;
    };
    let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Returns the days from 1970-01-01 to a Gregorian date, `None` for an invalid date:
/// `days_from_civil` of <https://howardhinnant.github.io/date_algorithms.html>.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if day < 1 || day > last {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = year.div_euclid(400);
    let year = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year * 365 + year / 4 - year / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_plain_form_is_read_as_the_time_crate_reads_it(
            // Some digits beyond the range of each part, and some other letters.
            text in "[0-9]{4}-([01][0-9]-[0-3][0-9]|02-(28|29|30))[Tt ]([012][0-9]:[0-6][0-9]:[0-6][0-9]|23:59:60)([.][0-9]{0,12})?(Z|z|[+-][0-2][0-9]:[0-6][0-9]|)",
        ) {
            let plain = from_plain_rfc3339(&text);
            prop_assert!(plain.is_none() || plain == from_rfc3339(&text), "{} {:?}", text, plain);
        }
    }

    /// Compares every date that four digits can write.
    #[test]
    fn each_day_of_ten_thousand_years_is_read_as_the_time_crate_reads_it() {
        for year in 0..=9999 {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let date = u8::try_from(month)
                    .ok()
                    .and_then(|month| time::Month::try_from(month).ok())
                    .and_then(|month| time::Date::from_calendar_date(year, month, day).ok());
                let expected = date.map(|date| i64::from(date.to_julian_day()) - 2_440_588);
                let (year, day) = (i64::from(year), i64::from(day));
                assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
            }
        }
    }

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
