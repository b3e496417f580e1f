//! What clients of HTTP servers share: how they connect, and how their errors read.

use std::error::Error;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;

use crate::settings::TlsFiles;
use crate::tls::{Side, TlsError};

/// As the `clickhouse` crate has it.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Connections in plain text.
pub fn plain() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp
}

/// Connections over TLS and none in plain text, with the files of `tls`'s section of the settings.
///
/// # Errors
/// When a certificate or a key cannot be used.
pub fn https(tls: &Side, files: &TlsFiles) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut tcp = plain();
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.client_config(files)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(connector)
}

/// An error and what caused it, since "network error" alone helps nobody.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
