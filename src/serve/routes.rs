//! The answer of each path, and the layers that all requests pass.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use net::http::repeated;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::debug;

use crate::serve::log_lines::ANSWERED;
use crate::serve::tokens::Scope;

use super::access::{self, Guard, Keys};
use super::ingest::{self, IDEMPOTENCY_KEY, Ingest};
use super::metrics::HttpMetrics;
use super::openapi;
use super::problem::Problem;
use super::read::{self, Read};
use super::unread;

/// Time for which a browser may remember its rights.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);
/// The route of what has none, in the metrics.
const NO_ROUTE: &str = "other";

/// Every path.
pub(super) fn router(ingest: Ingest, read: Read, keys: &Keys, origins: &[String]) -> Router {
    let metrics = ingest.metrics.clone();
    let guard = |scope| {
        let keys = keys.clone();
        middleware::from_fn_with_state(Guard { keys, scope }, access::check)
    };
    let takes = Router::new()
        .route("/v1/signals", post(ingest::signals))
        .route_layer(guard(Scope::Ingest))
        .with_state(ingest);
    Router::new()
        .merge(takes)
        .merge(read::router(read).route_layer(guard(Scope::Read)))
        .route("/v1/openapi.json", get(openapi::document))
        .method_not_allowed_fallback(async || {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "method", "this path has other methods")
        })
        .fallback(async || {
            let detail = "there is nothing here; GET /v1/openapi.json lists what there is";
            Problem::new(StatusCode::NOT_FOUND, "path", detail)
        })
        .layer(cors(origins))
        .layer(middleware::from_fn(once))
        .layer(middleware::from_fn(unread::close))
        .layer(middleware::from_fn_with_state(metrics, observe))
}

/// Pages of these origins may send and read; a browser keeps all others from it.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.collect::<Vec<HeaderValue>>()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            CONTENT_ENCODING,
            IDEMPOTENCY_KEY,
            IF_NONE_MATCH,
        ])
        .expose_headers([RETRY_AFTER, ETAG])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Refuses a request that repeats a header that counts.
async fn once(request: Request, next: Next) -> Response {
    match repeated(request.headers()) {
        None => next.run(request).await,
        Some(name) => {
            let detail = format!("the header {name} is there more than once");
            Problem::new(StatusCode::BAD_REQUEST, "header", detail).into_response()
        }
    }
}

/// Counts and times every answer. No token and no body is logged.
async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let began = Instant::now();
    let mut response = next.run(request).await;
    let route = path.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let (status, took) = (response.status(), began.elapsed());
    metrics.answered(route, status.as_str(), took);
    debug!(%method, route, status = status.as_u16(), took_ms = took.as_millis(), "{ANSWERED}");
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
