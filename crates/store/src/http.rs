//! HTTP clients: one for the `clickhouse` crate, and one for inserts.

use std::time::Duration;

use clickhouse::Client;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use net::http::client;
use net::tls::{ClientTls, TlsError};

use crate::ClickHouseOptions;

use super::post::HttpClient;

/// Timeout of the `clickhouse` crate: ClickHouse closes a connection after 3 idle seconds.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Creates clients for the URL's protocol only: with an https URL, never plain text.
///
/// # Errors
/// Fails when a certificate or a key cannot be used.
pub(super) fn clients(
    clickhouse: &ClickHouseOptions,
    tls: &ClientTls,
) -> Result<(Client, HttpClient), TlsError> {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(POOL_IDLE_TIMEOUT);
    if !clickhouse.is_https() {
        return Ok((
            Client::with_http_client(builder.build(client::plain())),
            HttpClient::Plain(builder.build(client::plain())),
        ));
    }
    let connector = client::https(tls, &clickhouse.tls_files())?;
    Ok((
        Client::with_http_client(builder.build(connector.clone())),
        HttpClient::Tls(builder.build(connector)),
    ))
}
