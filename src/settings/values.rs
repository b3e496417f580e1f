//! From the text of one setting to its value, or to what it should have been.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Secret, redacted_url};

/// A value, or what is wrong with its text.
pub(super) type Parsed<T> = Result<T, String>;

/// A whole number within bounds.
pub(super) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!(
                "must be a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

/// A duration as people write it, such as `250ms`, within bounds.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let duration = humantime::parse_duration(text).ok();
        duration
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| {
                format!(
                    "must be a duration such as 250ms, 30s or 2m, from {} to {}",
                    humantime::format_duration(*range.start()),
                    humantime::format_duration(*range.end())
                )
            })
    }
}

/// As [`duration`], or zero for none.
pub(super) fn duration_or_zero(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Parsed<Duration> {
    let within = duration(range);
    move |text| match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        _ => within(text).map_err(|rule| format!("{rule}, or 0s for none")),
    }
}

/// A size in bytes as people write it, such as `16MiB`, within bounds.
pub(super) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
        size.filter(|size| range.contains(size)).ok_or_else(|| {
            format!(
                "must be a size such as 512KiB or 16MiB, from {} to {}",
                ByteSize(*range.start()),
                ByteSize(*range.end())
            )
        })
    }
}

/// As [`bytes`], for what is held in memory.
pub(super) fn memory(range: RangeInclusive<u64>) -> impl Fn(&str) -> Parsed<usize> {
    let bytes = bytes(range);
    move |text| {
        usize::try_from(bytes(text)?).map_err(|_| "is more than can be addressed".to_owned())
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("must be {}", words.join(" or "))
        })
    }
}

/// `true` or `false`.
pub(super) fn yes_or_no(text: &str) -> Parsed<bool> {
    one_of(&[("true", true), ("false", false)])(text)
}

/// Any text on one line.
pub(super) fn text(text: &str) -> Parsed<String> {
    // It goes into a header of HTTP, or was read with the line break of a file.
    if text.contains(char::is_control) {
        return Err("must hold no line break and no other control character".to_owned());
    }
    Ok(text.to_owned())
}

/// An address to listen on, or `off` for none.
pub(super) fn listen_address(text: &str) -> Parsed<Option<SocketAddr>> {
    match text {
        "off" => Ok(None),
        _ => socket_address(text).map_err(|rule| format!("{rule}, or off")),
    }
}

/// An address to listen on.
pub(super) fn socket_address(text: &str) -> Parsed<Option<SocketAddr>> {
    text.parse().map(Some).map_err(|_| {
        "must be an address with a port such as 127.0.0.1:9464 or [::]:9464".to_owned()
    })
}

/// Origins of web pages, separated by commas, as a browser sends them.
pub(super) fn origins(origins: &str) -> Parsed<Vec<String>> {
    let origin = |origin: &str| {
        let url = Url::parse(origin).ok()?;
        let is_origin = ["http", "https"].contains(&url.scheme())
            && url.origin().ascii_serialization() == origin;
        is_origin.then(|| origin.to_owned())
    };
    let given = text(origins)?;
    let given = given
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    given
        .map(|given| {
            origin(given).ok_or_else(|| {
                "must be origins such as https://app.example.com, without a path, in small letters, separated by commas".to_owned()
            })
        })
        .collect()
}

/// A text that is not to be printed.
pub(super) fn secret(secret: &str) -> Parsed<Secret> {
    text(secret).map(Secret::new)
}

/// The seed of an NKey that is a user.
pub(super) fn nkey_seed(seed: &str) -> Parsed<Secret> {
    let is_user = |seed: &str| seed.starts_with("SU") && nkeys::KeyPair::from_seed(seed).is_ok();
    if seed.is_empty() || is_user(seed) {
        return Ok(Secret::new(seed));
    }
    Err("must be the seed of a user's NKey, 58 capitals and digits that begin with SU".to_owned())
}

/// What stands in a `.creds` file.
pub(super) fn nats_creds(creds: &str) -> Parsed<Secret> {
    if creds.is_empty() {
        return Ok(Secret::default());
    }
    // The client wants a line break at the end, which a secret's file has lost.
    let creds = format!("{creds}\n");
    if async_nats::ConnectOptions::new()
        .credentials(&creds)
        .is_ok()
    {
        return Ok(Secret::new(creds));
    }
    Err("must be the text of a .creds file, with a user's JWT and the seed of an NKey".to_owned())
}

/// A PEM file of certificates.
pub(super) fn certificate_file(path: &str) -> Parsed<Option<PathBuf>> {
    pem_file(path, |path| {
        let certificates = CertificateDer::pem_file_iter(path)?;
        certificates
            .collect::<Result<Vec<_>, _>>()
            .map(|found| found.len())
    })
}

/// A PEM file of a private key.
pub(super) fn key_file(path: &str) -> Parsed<Option<PathBuf>> {
    pem_file(path, |path| PrivateKeyDer::from_pem_file(path).map(|_| 1))
}

/// A file in which `count` finds what it is for; empty means none. A file that cannot be read
/// would otherwise be told of by each attempt to connect.
fn pem_file(
    path: &str,
    count: impl Fn(&Path) -> Result<usize, pem::Error>,
) -> Parsed<Option<PathBuf>> {
    if path.is_empty() {
        return Ok(None);
    }
    match count(Path::new(path)) {
        Ok(1..) => Ok(Some(PathBuf::from(path))),
        Ok(0) | Err(pem::Error::NoItemsFound) => {
            Err("must be a PEM file, and holds nothing of that kind".to_owned())
        }
        Err(pem::Error::Io(error)) => Err(format!("cannot be read: {error}")),
        // Its words may quote a line, and with it a key.
        Err(_) => Err("must be a PEM file, and is damaged".to_owned()),
    }
}

/// A name as JetStream takes it for streams and consumers:
/// <https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/naming>.
pub(super) fn jetstream_name(name: &str) -> Parsed<String> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    if name.is_empty() || name.chars().count() > 255 || name.contains(forbidden) {
        return Err(
            "must have 1 to 255 characters, none of them a space or one of . * > / \\".to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// The beginning of subjects: tokens separated by dots, without wildcards.
pub(super) fn subject_prefix(prefix: &str) -> Parsed<String> {
    let bad = |token: &str| {
        token.is_empty()
            || token.contains(|c: char| c.is_whitespace() || c.is_control() || "*>".contains(c))
    };
    if prefix.split('.').any(bad) || prefix.starts_with('$') {
        return Err(
            "must be tokens separated by dots, without spaces, * or >, not beginning with $"
                .to_owned(),
        );
    }
    Ok(prefix.to_owned())
}

/// A name that ClickHouse takes without quotes.
pub(super) fn identifier(name: &str) -> Parsed<String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(
            "must be letters, digits and underscores, not beginning with a digit".to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// One or several NATS servers.
pub(super) fn nats_urls(urls: &str) -> Parsed<String> {
    for url in text(urls)?.split(',').map(str::trim) {
        nats_url(url).map_err(|rule| format!("{} {rule}", redacted_url(url)))?;
    }
    Ok(urls.to_owned())
}

fn nats_url(url: &str) -> Parsed<()> {
    let full = if url.contains("://") {
        url.to_owned()
    } else {
        format!("nats://{url}")
    };
    let parsed = Url::parse(&full).ok().filter(Url::has_host);
    let scheme = parsed.as_ref().map_or("", Url::scheme);
    if ["ws", "wss"].contains(&scheme) {
        return Err("is a WebSocket, for which this program is not built; use nats or tls".into());
    }
    // What follows the host has no meaning, and may be a password with an unescaped slash.
    let ends = |url: &Url| ["", "/"].contains(&&url[url::Position::BeforePath..]);
    if !["nats", "tls"].contains(&scheme) || !parsed.as_ref().is_some_and(ends) {
        return Err(
            "is no NATS server; it must look like nats://host:4222 or tls://host:4222".into(),
        );
    }
    // The client would leave them out, and log in as nobody.
    if parsed.is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        return Err("must hold no user, password or token; they have settings of their own".into());
    }
    Ok(())
}

/// A URL of ClickHouse's HTTP interface.
pub(super) fn http_url(url: &str) -> Parsed<String> {
    web_url(url, "http://host:8123 or https://host:8443")
}

/// A URL of http or https without a login; `examples` are told to whoever gives another.
pub(super) fn web_url(url: &str, examples: &str) -> Parsed<String> {
    let parsed = Url::parse(&text(url)?).map_err(|error| format!("is no URL: {error}"))?;
    if !["http", "https"].contains(&parsed.scheme()) || !parsed.has_host() {
        return Err(format!("must look like {examples}"));
    }
    let has_user = !parsed.username().is_empty() || parsed.password().is_some();
    // An unescaped slash makes the rest of a password a path.
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

/// A filter for the log.
pub(super) fn log_filter(filter: &str) -> Parsed<String> {
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => Err(format!(
            "must be a level, or a filter such as info,risksignal=debug: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_can_be_connected_to_are_accepted() {
        for url in [
            "nats://h",
            "h",
            "h:4222",
            "tls://h:4222/",
            "nats://h:1, nats://h2",
            "nats://[::1]:4222",
        ] {
            assert_eq!(nats_urls(url), Ok(url.to_owned()));
        }
        for url in ["http://h:8123", "https://h/proxied/clickhouse"] {
            assert_eq!(http_url(url), Ok(url.to_owned()));
        }
    }

    #[test]
    fn others_are_refused_and_no_password_is_told() {
        for (url, rule) in [
            ("", "is no NATS server"),
            ("nats://", "is no NATS server"),
            ("h,", "is no NATS server"),
            ("ws://h:80", "is a WebSocket"),
            ("wss://hunter2@h", "is a WebSocket"),
            ("http://h", "is no NATS server"),
            ("nats://app:hunter2@h", "must hold no user"),
            ("nats://h, nats://hunter2@h2", "must hold no user"),
            ("nats://app:hunter2/x@h:4222", "is no NATS server"),
            ("nats://hunter2/x@h:4222", "is no NATS server"),
            ("nats://app:hunter2,x@h:4222", "is no NATS server"),
            ("nats://h:4222/?password=hunter2", "is no NATS server"),
            ("nats://h\n:4222", "must hold no line break"),
        ] {
            let told = nats_urls(url).unwrap_err();
            assert!(told.contains(rule), "{url}: {told}");
            assert!(!told.contains("hunter2"), "{url}: {told}");
        }
        for (url, rule) in [
            ("http://h:8123/?password=hunter2", "nothing after a ?"),
            ("http://h:8123#x", "nothing after a ?"),
            ("http://hunter2/x@h:8123", "no user and no password"),
            ("http://h:8123\n", "must hold no line break"),
            ("h:8123", "must look like"),
        ] {
            let told = http_url(url).unwrap_err();
            assert!(told.contains(rule), "{url}: {told}");
        }
    }

    #[test]
    fn origins_are_as_a_browser_sends_them() {
        let two = ["https://a.example", "http://localhost:3000"].map(str::to_owned);
        assert_eq!(
            origins("https://a.example, http://localhost:3000"),
            Ok(two.to_vec())
        );
        assert_eq!(origins(""), Ok(Vec::new()));
        for bad in [
            "*",
            "https://a.example/",
            "https://A.example",
            "a.example",
            "null",
        ] {
            assert!(origins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn users_and_secrets_are_on_one_line() {
        assert_eq!(text("a b\u{e9}"), Ok("a b\u{e9}".to_owned()));
        for bad in ["hunter2\n", "a\rb", "a\0b", "\u{7f}"] {
            assert!(text(bad).is_err() && secret(bad).is_err(), "{bad:?}");
        }
    }
}
