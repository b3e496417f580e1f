//! An HTTP proxy before ClickHouse that does what proxies do, to the harm of its client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::response::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Beginning of the refusal of a query with the id of one that runs.
const STILL_RUNNING: &[u8] = b"Code: 216.";

/// A harm that the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Passes on only the parameters that it knows, as chproxy does.
    DropSettings,
    /// Keeps the answer to a look-up, and gives it to any client that sends the same text.
    KeepAnswers,
    /// Sends each insert again once ClickHouse has forgotten the first, whose answer it drops.
    RepeatInserts,
}

/// The proxy; it ends when this is dropped.
pub struct Meddler {
    port: u16,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Answers that a proxy keeps: header and body by the text of the query.
type Kept = Mutex<HashMap<Bytes, (HeaderMap, Bytes)>>;

struct Proxy {
    server: u16,
    meddling: Meddling,
    client: Client<HttpConnector, Body>,
    kept: Kept,
}

impl Meddler {
    /// Before a port on loopback.
    pub async fn before(server: u16, meddling: Meddling) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Arc::new(Proxy {
            server,
            meddling,
            client: Client::builder(TokioExecutor::new()).build_http(),
            kept: Kept::default(),
        });
        let pass = move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.pass(request).await }
        };
        let router = Router::new().fallback(pass);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, serving }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    async fn pass(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let query = parts.uri.query().unwrap_or_default();
        let is_insert = query.contains("query=INSERT");
        let query = self.parameters(query);
        let uri: Uri = format!("http://127.0.0.1:{}/?{query}", self.server)
            .parse()
            .unwrap();
        let request = |body: Bytes| {
            let mut request = Request::post(&uri).body(Body::from(body)).unwrap();
            for (name, value) in &parts.headers {
                if !["host", "transfer-encoding", "content-length"].contains(&name.as_str()) {
                    request.headers_mut().insert(name, value.clone());
                }
            }
            self.client.request(request)
        };
        match self.meddling {
            Meddling::RepeatInserts if is_insert => {
                drop(whole(request(body.clone())).await);
                return self.repeated(request, body).await;
            }
            Meddling::KeepAnswers if is_look_up(&body) => {
                return self.kept(body.clone(), request(body)).await;
            }
            _ => {}
        }
        request(body).await.unwrap().map(Body::new)
    }

    /// Sends until ClickHouse has forgotten the query of the same name, a moment after its answer.
    async fn repeated(
        &self,
        request: impl Fn(Bytes) -> ResponseFuture,
        body: Bytes,
    ) -> Response<Body> {
        loop {
            let (parts, answer) = whole(request(body.clone())).await;
            if !answer.starts_with(STILL_RUNNING) {
                return Response::from_parts(parts, answer.into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn parameters(&self, query: &str) -> String {
        const KNOWN: [&str; 5] = [
            "query",
            "database",
            "default_format",
            "compress",
            "decompress",
        ];
        let passes = |name: &str| self.meddling != Meddling::DropSettings || KNOWN.contains(&name);
        let parameters = url::form_urlencoded::parse(query.as_bytes());
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters.filter(|(name, _)| passes(name)))
            .finish()
    }

    async fn kept(&self, text: Bytes, answer: ResponseFuture) -> Response<Body> {
        let kept = self.kept.lock().unwrap().get(&text).cloned();
        let (headers, body) = match kept {
            Some(kept) => kept,
            None => {
                let (parts, body) = whole(answer).await;
                if parts.status != StatusCode::OK {
                    return Response::from_parts(parts, body.into());
                }
                let kept = (parts.headers, body);
                self.kept.lock().unwrap().insert(text, kept.clone());
                kept
            }
        };
        let mut response = Response::new(body.into());
        *response.headers_mut() = headers;
        response
    }
}

/// Reads an answer to its end, without the headers that belong to its connection.
async fn whole(answer: ResponseFuture) -> (Parts, Bytes) {
    let (mut parts, body) = answer.await.unwrap().into_parts();
    for of_the_connection in ["connection", "keep-alive", "transfer-encoding"] {
        parts.headers.remove(of_the_connection);
    }
    (parts, to_bytes(Body::new(body), usize::MAX).await.unwrap())
}

fn is_look_up(text: &[u8]) -> bool {
    let words = b"stream_seq IN";
    text.windows(words.len()).any(|window| window == words)
}
