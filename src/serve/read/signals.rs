//! `GET /v1/wallets/{address}/signals` and `GET /v1/signals/{trace_id}`.

use std::sync::Arc;

use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use store::{StoredSignal, WalletQuery};
use uuid::Uuid;

use super::super::access::Caller;
use super::super::problem::Problem;
use super::parameters::Page;
use super::{Read, answer, cursor};

/// Bytes of a payload beyond which a page leaves it out, so that the largest page has 3 MiB.
const LONGEST_ON_A_PAGE: usize = 16 * 1024;
/// Signals of one trace id at most: it is meant for one.
const OF_A_TRACE: usize = 20;

#[derive(Debug, Serialize)]
struct Signals {
    signals: Vec<StoredSignal>,
    /// `None` behind the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Traced {
    signals: Vec<StoredSignal>,
}

pub(super) async fn of_wallet(
    State(read): State<Read>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(address): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.spend(1)?;
    let page = Page::parse(query.as_deref().unwrap_or_default())?;
    let asked = WalletQuery {
        address: &address,
        from_ms: page.from_ms,
        to_ms: page.to_ms,
        event_type: page.event_type.as_deref(),
        after: page.after,
        // One more shows whether there is another page.
        limit: page.limit + 1,
    };
    let limits = read.limits(LONGEST_ON_A_PAGE);
    let question = read.store.signals_of_wallet(&asked, limits);
    let mut signals = read.ask(question).await?;
    let more = signals.len() > page.limit;
    signals.truncate(page.limit);
    let last = signals.last().filter(|_| more);
    let next_cursor = last.map(|last| cursor::write(last.place()));
    let page = Signals {
        signals,
        next_cursor,
    };
    answer::json(&headers, &page)
}

pub(super) async fn of_trace(
    State(read): State<Read>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(trace_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.spend(1)?;
    let trace_id = Uuid::try_parse(&trace_id).map_err(|_| {
        let detail = "the trace id in the path must be a UUID";
        Problem::new(StatusCode::BAD_REQUEST, "trace_id", detail)
    })?;
    let limits = read.limits(usize::MAX);
    let question = read.store.signals_of_trace(trace_id, OF_A_TRACE, limits);
    let signals = read.ask(question).await?;
    if signals.is_empty() {
        let detail = "no signal in ClickHouse has this trace id";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown", detail));
    }
    answer::json(&headers, &Traced { signals })
}
