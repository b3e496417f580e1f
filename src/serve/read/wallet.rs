//! `GET /v1/wallets/{address}`: what is known of a wallet, out of the cache or else ClickHouse.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use clock::now_ms;
use serde_json::value::{RawValue, to_raw_value};
use store::wallet::{SignalCount, Wallet, WalletRows};
use store::{QueryPurpose, StoreError};
use wallets::{Found, Reader};

use super::super::access::Caller;
use super::super::problem::Problem;
use super::{Read, answer};

/// The use of the cache, by RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

pub(super) async fn state(
    State(read): State<Read>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(address): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.spend(1)?;
    let now_ms = now_ms();
    let found = match &read.cache {
        Some(cache) => Some(cache.read(&address, now_ms).await),
        None => None,
    };
    let status = found.as_ref().map(status);
    if let Some(found) = &found {
        read.metrics.read(found.name());
    }
    let wallet = match found {
        Some(Found::Hit(wallet)) => wallet,
        Some(Found::Miss(nonce)) => of_table(&read, &address, nonce.as_deref(), now_ms).await?,
        Some(Found::Busy | Found::Stale | Found::Away) | None => {
            of_table(&read, &address, None, now_ms).await?
        }
    };
    let Some(wallet) = wallet else {
        let detail = "no signal in ClickHouse names this wallet";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown", detail));
    };
    let mut response = answer::json(&headers, &wallet)?;
    if let Some(status) = status {
        response.headers_mut().insert(CACHE_STATUS, status);
    }
    Ok(response)
}

/// `hit`, or why the request was not answered out of the cache.
fn status(found: &Found) -> HeaderValue {
    HeaderValue::from_static(match found {
        Found::Hit(_) => "risksignal; hit",
        Found::Miss(_) => "risksignal; fwd=miss",
        Found::Busy => "risksignal; fwd=bypass; detail=busy",
        Found::Stale => "risksignal; fwd=stale",
        Found::Away => "risksignal; fwd=bypass; detail=away",
    })
}

/// Reads a wallet from the table, and fills its entry of the cache under the nonce.
async fn of_table(
    read: &Read,
    address: &str,
    nonce: Option<&str>,
    now_ms: i64,
) -> Result<Option<Wallet>, Problem> {
    let question = async {
        let asks = QueryPurpose::Client(read.query_timeout);
        let mut found = read
            .store
            .wallets(&[address], now_ms, Reader::COUNTED, asks)
            .await?;
        let rows = found.remove(address);
        let counts = match &rows {
            // There are more than the cache could take.
            Some(rows) if rows.counted.len() == Reader::COUNTED => {
                let counts = read
                    .store
                    .wallet_counts(address, now_ms, read.query_timeout);
                counts.await?
            }
            Some(rows) => rows.counts(now_ms),
            None => Vec::new(),
        };
        Ok::<_, StoreError>((rows, counts))
    };
    let (rows, counts) = read.ask(question).await?;
    if let Some((cache, nonce)) = read.cache.as_ref().zip(nonce) {
        let none = WalletRows::default();
        let rows = rows.as_ref().unwrap_or(&none);
        cache.fill(address, nonce, rows, now_ms).await;
    }
    rows.map(|rows| wallet(address, rows, counts)).transpose()
}

fn wallet(address: &str, rows: WalletRows, counts: Vec<SignalCount>) -> Result<Wallet, Problem> {
    let json = |signal| to_raw_value(&signal).map_err(|error| answer::malformed(&error));
    let last: Result<Vec<Box<RawValue>>, Problem> = rows.last.into_iter().map(json).collect();
    Ok(Wallet {
        address: address.to_owned(),
        first_seen_ms: rows.first_seen_ms,
        last_seen_ms: rows.last_seen_ms,
        counts,
        snapshot: rows.snapshot.map(json).transpose()?,
        last: last?,
    })
}
