//! The answer of each path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use super::access;
use super::history::{History, HistoryPoint};
use super::page::FILES;
use super::runbook::{self, RUNBOOK, TROUBLESHOOTING};
use super::status::{Sources, Status};

/// Live pages that are served at once.
const LISTENERS_MAX: usize = 32;
/// Between two events of the live page.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Shared {
    sources: Sources,
    history: History,
    listeners: Arc<Semaphore>,
}

/// Every path. Those that an orchestrator asks need no token.
pub(super) fn router(sources: Sources, history: History) -> Router {
    let token = sources.settings.borrow().ops.token.clone();
    let shared = Shared {
        sources,
        history,
        listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
    };
    let mut guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/statusz", get(statusz))
        .route("/events", get(events));
    for (path, document) in [("/runbook", RUNBOOK), ("/troubleshooting", TROUBLESHOOTING)] {
        let body = runbook::page(document).into();
        guarded = guarded.route(path, page("text/html; charset=utf-8", body));
    }
    for file in FILES {
        let body = Bytes::from_static(file.body.as_bytes());
        guarded = guarded.route(file.path, page(file.content_type, body));
    }
    guarded
        .layer(middleware::from_fn_with_state(token.clone(), access::check))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(shared)
        .layer(middleware::from_fn_with_state(token, access::addressed))
        .layer(middleware::map_response(with_headers))
}

/// Answers with the same body each time.
fn page(content_type: &'static str, body: Bytes) -> MethodRouter<Shared> {
    get(move || async move { ([(CONTENT_TYPE, content_type)], body) })
}

async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn livez(State(shared): State<Shared>) -> Response {
    match shared.sources.health.hang() {
        None => "alive\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let report = shared.sources.health();
    let code = match report.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, json(&report)).into_response()
}

async fn statusz(State(shared): State<Shared>) -> Response {
    json(&shared.sources.full())
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.sources.metrics() {
        Ok(text) => ([(CONTENT_TYPE, metric_kit::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// An event of the live page: how the daemon is, and its newest second.
#[derive(Serialize)]
struct Now {
    #[serde(flatten)]
    status: Status,
    point: Option<HistoryPoint>,
}

/// The last minutes, a snapshot now, and one each second.
async fn events(State(shared): State<Shared>) -> Response {
    let Ok(permit) = Arc::clone(&shared.listeners).try_acquire_owned() else {
        let busy = format!("{LISTENERS_MAX} live pages are open already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let mut ticks = interval(EVENT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Shared {
        sources, history, ..
    } = shared;
    let past = serde_json::to_string(&history.points());
    let past = past.map(|points| Event::default().event("history").data(points));
    let state = (ticks, sources, history, permit);
    let snapshots = stream::unfold(state, |(mut ticks, sources, history, permit)| async move {
        ticks.tick().await;
        let now = Now {
            status: sources.snapshot(),
            point: history.newest(),
        };
        let event = serde_json::to_string(&now).map(|data| Event::default().data(data));
        Some((event, (ticks, sources, history, permit)))
    });
    let events = stream::iter([past]).chain(snapshots);
    Sse::new(events).into_response()
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
