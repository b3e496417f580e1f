//! Where traces go: the settings of OpenTelemetry, and how their texts are read.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::values::{self, Parsed};
use super::{Secret, TlsFiles};

/// The path of traces behind a receiver's base URL, by the OTLP specification.
const TRACES_PATH: &str = "/v1/traces";

/// Traces by OpenTelemetry, and the receiver that they are sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct Otel {
    /// The URL that spans are posted to; `None` is nowhere, and then there are no spans.
    pub endpoint: Option<String>,
    /// Headers of each request, by name.
    pub headers: Vec<(String, Secret)>,
    /// Whom to trust over https, and what to show.
    pub tls_files: TlsFiles,
    /// How long one request may take, and until when it is tried again.
    pub timeout: Duration,
    /// The resource attribute `service.name`.
    pub service_name: String,
    /// Further resource attributes, by name.
    pub resource_attributes: Vec<(String, String)>,
    /// The share of batches and dead letters that get spans, from 0 to 1.
    pub sample_ratio: f64,
    /// Links from a span to those of the producers.
    pub max_links: u32,
    /// Spans that wait to be sent; what comes beyond is dropped.
    pub max_queued_spans: usize,
}

impl Otel {
    /// Whether the receiver is spoken to over TLS, and never in plain text.
    pub fn is_https(&self) -> bool {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        endpoint.to_ascii_lowercase().starts_with("https://")
    }
}

/// The URL of a receiver, to which the path of traces is added where it is not there; empty
/// means none.
pub(super) fn endpoint(url: &str) -> Parsed<Option<String>> {
    if url.is_empty() {
        return Ok(None);
    }
    let examples = "http://host:4318 or https://host:4318, for OTLP over HTTP";
    let base = values::web_url(url, examples)?;
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
pub(super) fn headers(text: &str) -> Parsed<Vec<(String, Secret)>> {
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
pub(super) fn attributes(text: &str) -> Parsed<Vec<(String, String)>> {
    pairs(text).ok_or_else(|| "must be attributes such as name=value,name2=value2".to_owned())
}

/// A share from 0 to 1.
pub(super) fn ratio(text: &str) -> Parsed<f64> {
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
            let told = endpoint(url).unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
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
            let told = headers(bad).unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
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
