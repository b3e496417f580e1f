//! The transport of spans to their receiver: over the same HTTP and TLS as ClickHouse's.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use net::http::client::{self as http, with_causes};
use net::tls::{ClientTls, TlsError};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::options::OtelOptions;

/// No receiver's answer is larger.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// The failure of the last request, for people: the exporter's own error does not say.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    /// Takes it out.
    pub fn take(&self) -> Option<String> {
        self.lock().take()
    }

    fn set(&self, failure: String) {
        *self.lock() = Some(failure);
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client for the receiver. To be called within the runtime that requests shall run on.
pub(super) fn client(
    otel: &OtelOptions,
    failure: &Failure,
) -> Result<Arc<dyn HttpClient>, TlsError> {
    let builder = legacy::Client::builder(TokioExecutor::new());
    let tls = ClientTls::new("otel", &otel.tls_files());
    if !otel.is_https() {
        let client = builder.build(http::plain());
        return Ok(Arc::new(Transport::new(client, otel, tls, failure)));
    }
    let client = builder.build(http::https(&tls, &otel.tls_files())?);
    Ok(Arc::new(Transport::new(client, otel, tls, failure)))
}

struct Transport<C> {
    client: legacy::Client<C, Body>,
    headers: HeaderMap,
    timeout: Duration,
    failure: Failure,
    tls: ClientTls,
    /// The exporter is run by a thread of the SDK's, which has no reactor.
    runtime: Handle,
}

impl<C> fmt::Debug for Transport<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl<C> Transport<C> {
    fn new(
        client: legacy::Client<C, Body>,
        otel: &OtelOptions,
        tls: ClientTls,
        failure: &Failure,
    ) -> Self {
        let headers = otel.headers.iter().filter_map(|(name, value)| {
            // The settings' check has seen that both are possible.
            let name = HeaderName::try_from(name).ok()?;
            let mut value = HeaderValue::try_from(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        Self {
            client,
            headers: headers.collect(),
            timeout: otel.timeout,
            failure: failure.clone(),
            tls,
            runtime: Handle::current(),
        }
    }

    /// The exporter's request with the headers of the settings, and none of those that it has
    /// found in the environment by itself.
    fn request(&self, request: Request<Bytes>) -> Request<Body> {
        let (mut head, body) = request.into_parts();
        let theirs = std::mem::replace(&mut head.headers, self.headers.clone());
        for name in [CONTENT_TYPE, USER_AGENT] {
            if let Some(value) = theirs.get(&name) {
                head.headers.insert(name, value.clone());
            }
        }
        Request::from_parts(head, Body::from(body))
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> HttpClient for Transport<C> {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), self.request(request));
        let answer = async move {
            let (head, body) = client.request(request).await?.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_BYTES_MAX).await?;
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let bound = self.timeout;
        // Nothing is made on this thread: what looks for a reactor would panic.
        let sent = self
            .runtime
            .spawn(async move { timeout(bound, answer).await });
        let sent = match sent.await {
            Ok(Ok(sent)) => sent,
            Ok(Err(elapsed)) => Err(elapsed.into()),
            // The runtime ends.
            Err(ended) => Err(ended.into()),
        };
        match &sent {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.failure.set(refusal(answer.status())),
            Err(error) => {
                let advice = self.tls.advice(error.as_ref());
                self.failure.set(with_causes(error.as_ref()) + &advice);
            }
        }
        sent
    }
}

/// Explains an answer other than success, without its body, which may quote the request.
fn refusal(status: StatusCode) -> String {
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; look at otel.headers",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; look at otel.endpoint",
        _ => "",
    };
    format!("the receiver answers {status}{advice}")
}
