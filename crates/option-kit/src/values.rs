//! Kinds of values that several sections use.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use url::Url;

use crate::kind::{Kind, Parsed, Shape};
use crate::secret::Secret;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);
/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);
/// One hour.
pub const HOUR: Duration = Duration::from_secs(3600);
/// One day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// One year in the crate humantime.
pub const YEAR: Duration = Duration::from_secs(31_557_600);
/// 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// 2^30 bytes.
pub const GIB: u64 = 1 << 30;

/// Returns a duration of milliseconds.
pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Accepts a whole number within bounds.
pub fn number<T>(range: RangeInclusive<T>) -> Kind<T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    let (min, max) = (range.start().to_string(), range.end().to_string());
    let rule = format!("must be a whole number from {min} to {max}");
    Kind::new(Shape::Integer { min, max }, move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| rule.clone())
    })
}

/// Accepts a duration within bounds, such as `250ms`.
pub fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let bounds = duration_bounds(&range);
    Kind::new(Shape::Duration(bounds), move |text| {
        parse_duration(&range, text)
    })
}

/// Accepts a duration within bounds, or zero for none.
pub fn duration_or_zero(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let bounds = format!("{}, or 0s for none", duration_bounds(&range));
    Kind::new(
        Shape::Duration(bounds),
        move |text| match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Ok(Duration::ZERO),
            _ => parse_duration(&range, text).map_err(|rule| format!("{rule}, or 0s for none")),
        },
    )
}

fn duration_bounds(range: &RangeInclusive<Duration>) -> String {
    let (min, max) = (*range.start(), *range.end());
    format!(
        "from {} to {}",
        humantime::format_duration(min),
        humantime::format_duration(max)
    )
}

fn parse_duration(range: &RangeInclusive<Duration>, text: &str) -> Parsed<Duration> {
    let duration = humantime::parse_duration(text).ok();
    let duration = duration.filter(|duration| range.contains(duration));
    duration.ok_or_else(|| {
        let bounds = duration_bounds(range);
        format!("must be a duration such as 250ms, 30s or 2m, {bounds}")
    })
}

/// Accepts a size in bytes within bounds, such as `16MiB`.
pub fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let (shape, parse) = size(range);
    Kind::new(shape, parse)
}

/// Accepts a size within bounds for data held in memory.
pub fn memory(range: RangeInclusive<u64>) -> Kind<usize> {
    let (shape, parse) = size(range);
    Kind::new(shape, move |text| {
        let size = usize::try_from(parse(text)?);
        size.map_err(|_| "is more than this machine can address".to_owned())
    })
}

fn size(range: RangeInclusive<u64>) -> (Shape, impl Fn(&str) -> Parsed<u64>) {
    let (min, max) = (ByteSize(*range.start()), ByteSize(*range.end()));
    let bounds = format!("from {min} to {max}");
    let rule = format!("must be a size such as 512KiB or 16MiB, {bounds}");
    let parse = move |text: &str| {
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        let size = size.filter(|size| range.contains(size));
        size.ok_or_else(|| rule.clone())
    };
    (Shape::Size(bounds), parse)
}

/// Accepts one of a few words.
pub fn one_of<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let rule = format!("must be {}", names.join(" or "));
    Kind::new(Shape::Words(names), move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| rule.clone())
    })
}

/// Accepts `true` or `false`.
pub fn yes_or_no() -> Kind<bool> {
    Kind::new(Shape::Boolean, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    })
}

/// Accepts any text on one line.
pub fn text() -> Kind<String> {
    Kind::text(one_line)
}

/// Returns a text of one line.
///
/// # Errors
/// Returns the rule for a text with control characters. Such a text would go into an HTTP header,
/// or includes the line break of its file.
pub fn one_line(text: &str) -> Parsed<String> {
    if text.contains(char::is_control) {
        return Err("must hold no line break and no other control character".to_owned());
    }
    Ok(text.to_owned())
}

/// Accepts a text that is never printed.
pub fn secret() -> Kind<Secret> {
    Kind::text(|text| one_line(text).map(Secret::new))
}

/// Accepts a URL of http or https without a login, or an empty text; a fault quotes `examples`.
pub fn optional_web_url(examples: &'static str) -> Kind<Option<String>> {
    Kind::text(move |url| {
        if url.is_empty() {
            return Ok(None);
        }
        let url = web_url(url, examples)?;
        Ok(Some(url.trim_end_matches('/').to_owned()))
    })
}

/// Returns a URL of http or https without a login.
///
/// # Errors
/// Returns the rule that the URL breaks, with `examples`.
pub fn web_url(url: &str, examples: &str) -> Parsed<String> {
    let parsed = Url::parse(&one_line(url)?).map_err(|error| format!("is not a URL: {error}"))?;
    // What the standard of browsers mends, an HTTP client cannot ask.
    let is_mended = !url.contains("://") || !url.bytes().all(|byte| byte.is_ascii_graphic());
    if is_mended || !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
        return Err(format!("must look like {examples}"));
    }
    let has_user = !parsed.username().is_empty() || parsed.password().is_some();
    // An unescaped slash turns the rest of a password into a path.
    if has_user || parsed.path().contains('@') {
        return Err(
            "must hold no user and no password; they have settings of their own".to_owned(),
        );
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("must hold nothing after a ? or #".to_owned());
    }
    Ok(url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_urls_hold_no_password() {
        let http_url = |url| web_url(url, "http://host:8123");
        for url in ["http://h:8123", "https://h/proxied/clickhouse"] {
            assert_eq!(http_url(url), Ok(url.to_owned()));
        }
        for (url, rule) in [
            ("http://h:8123/?password=hunter2", "nothing after a ?"),
            ("http://h:8123#x", "nothing after a ?"),
            ("http://hunter2/x@h:8123", "no user and no password"),
            ("http://h:8123\n", "must hold no line break"),
            ("h:8123", "must look like"),
            ("http:h:8123", "must look like"),
            ("http:\\\\h:8123", "must look like"),
            (" http://h:8123", "must look like"),
            ("http://h:8123/a b", "must look like"),
            ("http://\u{fc}.example:8123", "must look like"),
        ] {
            let fault = http_url(url).unwrap_err();
            assert!(fault.contains(rule), "{url}: {fault}");
        }
    }

    #[test]
    fn users_and_secrets_are_on_one_line() {
        assert_eq!(text().parse("a b\u{e9}"), Ok("a b\u{e9}".to_owned()));
        for bad in ["hunter2\n", "a\rb", "a\0b", "\u{7f}"] {
            assert!(
                text().parse(bad).is_err() && secret().parse(bad).is_err(),
                "{bad:?}"
            );
        }
    }
}
