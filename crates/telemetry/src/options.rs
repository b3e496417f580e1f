//! Settings of the log and of traces.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri};
use net::tls::{HTTPS_ONLY, TlsFiles, certificate_file, key_file};
use option_kit::{
    HOUR, Kind, MINUTE, Parsed, Rule, Secret, Shape, duration, ms, number, one_of, options, text,
    web_url,
};
use percent_encoding::percent_decode_str;
use tracing_subscriber::EnvFilter;

options! {
    /// Settings of the log, which goes to standard error.
    #[derive(Debug, Clone, PartialEq)]
    pub struct LogOptions in "log" {
        /// Filter of the log, such as info,risksignal=debug.
        filter: String = "info,async_nats=warn", Kind::text(log_filter), alias "RUST_LOG", live;
        /// auto (run and serve: pretty on a terminal, otherwise json; other commands: plain lines),
        /// pretty or json.
        format: LogFormat = "auto", log_format();
        /// Lines a second for batches and for dead letters, and lines of any other kind in each
        /// summary_interval; beyond, a summary takes their place.
        lines_per_second: u32 = "10", number(0..=1_000_000), live;
        /// Time between two summaries.
        summary_interval: Duration = "5s", duration(ms(100)..=HOUR), live;
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal and JSON elsewhere for a daemon; plain for other commands.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

fn log_format() -> Kind<LogFormat> {
    one_of(&[
        ("auto", LogFormat::Auto),
        ("pretty", LogFormat::Pretty),
        ("json", LogFormat::Json),
    ])
}

/// A filter for the log.
fn log_filter(filter: &str) -> Parsed<String> {
    match EnvFilter::builder().parse(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => Err(format!(
            "must be a level, or a filter such as info,risksignal=debug: {error}"
        )),
    }
}

/// The path of traces behind a receiver's base URL, by the OTLP specification.
const TRACES_PATH: &str = "/v1/traces";

options! {
    /// Traces by OpenTelemetry, and the receiver that they are sent to.
    #[derive(Debug, Clone, PartialEq)]
    pub struct OtelOptions in "otel", rules RULES {
        /// Receiver of traces, by OTLP over HTTP (protobuf), such as http://127.0.0.1:4318; unset
        /// for none.
        endpoint: Option<String> = "", Kind::text(endpoint), alias "OTEL_EXPORTER_OTLP_ENDPOINT";
        /// Headers of each request, such as a vendor's token: name=value, separated by commas,
        /// values percent-encoded.
        headers: Vec<(String, Secret)> = "", Kind::text(headers), secret, alias "OTEL_EXPORTER_OTLP_HEADERS";
        /// PEM file of the CAs that are trusted with https, in place of the system's.
        ca_file: Option<PathBuf> = "", certificate_file(), alias "OTEL_EXPORTER_OTLP_CERTIFICATE";
        /// PEM file of the client's certificate, where the receiver asks for one.
        cert_file: Option<PathBuf> = "", certificate_file(), alias "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "", key_file(), alias "OTEL_EXPORTER_OTLP_CLIENT_KEY";
        /// Time of one request with its retries; then its spans are
        /// dropped.
        timeout: Duration = "10s", duration(ms(100)..=MINUTE);
        /// The resource attribute service.name.
        service_name: String = "risksignal-ingest", text(), alias "OTEL_SERVICE_NAME";
        /// Further resource attributes, such as deployment.environment.name=production: name=value,
        /// separated by commas.
        resource_attributes: Vec<(String, String)> = "", Kind::text(attributes), alias "OTEL_RESOURCE_ATTRIBUTES";
        /// Share of batches and dead letters that get spans, from 0 to 1.
        sample_ratio: f64 = "1", Kind::new(Shape::Number, ratio);
        /// Links from one span to those of the signals' publishers.
        max_links: u32 = "128", number(0..=10_000), alias "OTEL_SPAN_LINK_COUNT_LIMIT";
        /// Spans that wait to be sent; what comes beyond is dropped.
        max_queued_spans: usize = "2048", number(1..=100_000), alias "OTEL_BSP_MAX_QUEUE_SIZE";
    }
}

const RULES: &[Rule<OtelOptions>] = &[
    Rule::certificate_with_key(&["otel.cert_file", "otel.key_file"], |s| {
        s.cert_file.is_some() == s.key_file.is_some()
    }),
    Rule {
        keys: &["otel.ca_file", "otel.endpoint"],
        holds: |s| s.ca_file.is_none() || s.endpoint.is_none() || s.is_https(),
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["otel.cert_file", "otel.endpoint"],
        holds: |s| s.cert_file.is_none() || s.endpoint.is_none() || s.is_https(),
        words: HTTPS_ONLY,
    },
];

impl OtelOptions {
    /// PEM files of the connection.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles::new(
            self.ca_file.as_ref(),
            self.cert_file.as_ref(),
            self.key_file.as_ref(),
        )
    }

    /// Returns true when the receiver is reached over TLS, and never in plain text.
    pub fn is_https(&self) -> bool {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        endpoint.to_ascii_lowercase().starts_with("https://")
    }
}

/// The URL of a receiver, to which the path of traces is added where it is not there; empty
/// means none.
fn endpoint(url: &str) -> Parsed<Option<String>> {
    if url.is_empty() {
        return Ok(None);
    }
    let examples = "http://host:4318 or https://host:4318, for OTLP over HTTP";
    let base = web_url(url, examples)?;
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix(TRACES_PATH).unwrap_or(base);
    let url = format!("{base}{TRACES_PATH}");
    // The exporter's reading of a URL is narrower.
    match Uri::try_from(&url) {
        Ok(_) => Ok(Some(url)),
        Err(error) => Err(format!("is no URL: {error}")),
    }
}

/// Headers as `OTEL_EXPORTER_OTLP_HEADERS` has them. No fault quotes what is in them.
fn headers(text: &str) -> Parsed<Vec<(String, Secret)>> {
    let fault = || "must be headers such as name=value,name2=value2".to_owned();
    let pairs = pairs(text).ok_or_else(fault)?.into_iter();
    let headers = pairs.map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        HeaderValue::try_from(&value).ok()?;
        Some((name.to_string(), Secret::new(value)))
    });
    headers.collect::<Option<_>>().ok_or_else(fault)
}

/// Resource attributes as `OTEL_RESOURCE_ATTRIBUTES` has them.
fn attributes(text: &str) -> Parsed<Vec<(String, String)>> {
    pairs(text).ok_or_else(|| "must be attributes such as name=value,name2=value2".to_owned())
}

/// A share from 0 to 1.
fn ratio(text: &str) -> Parsed<f64> {
    let ratio = text
        .parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Pairs of a name and a value, which is percent-decoded: W3C Baggage's way without properties.
/// `None` when one is malformed.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_there_once() {
        for (url, full) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
            ("https://h/otlp", "https://h/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(url), Ok(Some(full.to_owned())), "{url}");
        }
        assert_eq!(endpoint(""), Ok(None));
        for url in [
            "h:4317",
            "grpc://h:4317",
            "http://app:hunter2@h:4318",
            "http://h\u{f6}st:4318",
        ] {
            let fault = endpoint(url).unwrap_err();
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn headers_are_read_and_those_that_are_none_are_not_quoted() {
        let read = headers("api-key=hunter2, Authorization=Basic%20aHVudGVyMg==,").unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        let expected = [
            ("api-key", "hunter2"),
            ("authorization", "Basic aHVudGVyMg=="),
        ];
        assert_eq!(read, expected);
        assert_eq!(headers(""), Ok(vec![]));
        for bad in [
            "hunter2",
            "=hunter2",
            "a b=hunter2",
            "k=hunter2%0a",
            "k=hunter2%ff",
        ] {
            let fault = headers(bad).unwrap_err();
            assert!(!fault.contains("hunter2"), "{fault}");
        }
        let shown = format!("{:?}", headers("api-key=hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn ratios_are_shares() {
        for (text, expected) in [("0", 0.0), ("0.25", 0.25), ("1", 1.0)] {
            assert_eq!(ratio(text), Ok(expected));
        }
        for bad in ["", "-0.1", "1.1", "NaN", "all"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
