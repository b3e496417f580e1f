//! Reads of applications, out of ClickHouse and, where it is fresh, the cache.

mod answer;
mod cursor;
mod parameters;
mod signals;
mod wallet;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use store::{ReadLimits, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{error, warn};
use wallets::{CacheMetrics, Reader, Redis};

use crate::serve::log_lines::READ_UNANSWERED;

use super::problem::Problem;

/// After which a client is to try again, when as many questions as may be are under way.
const BUSY: Duration = Duration::from_secs(1);
/// The same, when ClickHouse is away.
const AWAY: Duration = Duration::from_secs(3);

/// Parts that the routes work with.
#[derive(Clone)]
pub(crate) struct Read {
    store: Store,
    /// A permit for each question that ClickHouse may be asked at once.
    questions: Arc<Semaphore>,
    query_timeout: Duration,
    cache: Option<Arc<Reader>>,
    metrics: CacheMetrics,
}

/// The paths, as yet open to everybody.
pub(super) fn router(read: Read) -> Router {
    Router::new()
        .route("/v1/wallets/{address}", get(wallet::state))
        .route("/v1/wallets/{address}/signals", get(signals::of_wallet))
        .route("/v1/signals/{trace_id}", get(signals::of_trace))
        .with_state(read)
}

impl Read {
    pub fn new(
        store: Store,
        cache: Option<Redis>,
        serve: &crate::serve::options::ServeOptions,
        metrics: CacheMetrics,
    ) -> Self {
        Self {
            store,
            questions: Arc::new(Semaphore::new(serve.max_queries)),
            query_timeout: serve.query_timeout,
            cache: cache.map(|redis| Arc::new(Reader::new(redis))),
            metrics,
        }
    }

    /// Limits of a question that shows payloads up to this many bytes.
    fn limits(&self, longest_payload: usize) -> ReadLimits {
        ReadLimits {
            timeout: self.query_timeout,
            longest_payload,
        }
    }

    /// Asks ClickHouse, when it is this question's turn.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Problem> {
        // Its turn comes no later than the answer would have to.
        let turn = timeout(self.query_timeout, self.questions.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let detail = "as many questions to ClickHouse as may be are under way";
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(Problem::retry(status, "busy", detail, BUSY));
        };
        question.await.map_err(|error| failed(&error))
    }
}

/// Hides ClickHouse's words, which are for the operator alone: they name hosts and tables.
fn failed(error: &StoreError) -> Problem {
    if error.took_too_long() {
        warn!(%error, "A question over HTTP took too long");
        let detail = "ClickHouse took longer than it may (serve.query_timeout); ask for less";
        return Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail);
    }
    error!(%error, "{READ_UNANSWERED}");
    let detail = "ClickHouse is away, or refuses to answer";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::retry(status, "clickhouse_away", detail, AWAY)
}
