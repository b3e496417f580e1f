//! Connectors and error texts that clients of HTTP servers share.

use std::error::Error;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;

use crate::tls::TlsFiles;
use crate::tls::{ClientTls, TlsError};

/// Keep-alive of the `clickhouse` crate.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Connections in plain text.
pub fn plain() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp
}

/// Returns a connector for TLS only, with the files of `tls`'s section of the settings.
///
/// # Errors
/// Fails when a certificate or a key cannot be used.
pub fn https(tls: &ClientTls, files: &TlsFiles) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut tcp = plain();
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.client_config(files)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(connector)
}

/// Formats an error with its causes, since "network error" alone helps nobody.
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
