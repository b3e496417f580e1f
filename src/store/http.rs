//! The HTTP clients below ClickHouse's: that of the `clickhouse` crate, and that of inserts.

use std::time::Duration;

use clickhouse::Client;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use super::post::HttpClient;
use crate::http::client;
use crate::settings::ClickHouse;
use crate::tls::{Side, TlsError};

/// As the crate has it: ClickHouse closes what is idle for 3 seconds.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Clients that speak what the URL says and nothing else: with an https URL, no plain text.
///
/// # Errors
/// When a certificate or a key cannot be used.
pub(super) fn clients(
    clickhouse: &ClickHouse,
    tls: &Side,
) -> Result<(Client, HttpClient), TlsError> {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(POOL_IDLE_TIMEOUT);
    if !clickhouse.is_https() {
        return Ok((
            Client::with_http_client(builder.build(client::plain())),
            HttpClient::Plain(builder.build(client::plain())),
        ));
    }
    let connector = client::https(tls, &clickhouse.tls_files)?;
    Ok((
        Client::with_http_client(builder.build(connector.clone())),
        HttpClient::Tls(builder.build(connector)),
    ))
}
