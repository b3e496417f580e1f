//! An HTTP proxy before ClickHouse that, when asked to, answers inserts of signals itself or
//! changes what passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// A way to treat an insert of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It passes, and so does its answer.
    None,
    /// ClickHouse does not see it; the proxy answers with this status, type and body.
    Answer(u16, &'static str, &'static str),
    /// ClickHouse does not see one with a larger body; the proxy answers 413.
    TooLarge(usize),
    /// ClickHouse sees it; its answer loses all headers that are ClickHouse's own.
    StripHeaders,
    /// ClickHouse sees it without this setting.
    DropSetting(&'static str),
    /// ClickHouse sees it; its answer names another query.
    OtherQuery,
    /// ClickHouse sees it; its answer reports fewer rows.
    FewerRows,
}

/// The proxy; it ends when this is dropped.
pub struct LyingProxy {
    port: u16,
    state: Arc<Proxy>,
    _server: JoinSet<()>,
}

struct Proxy {
    clickhouse: u16,
    client: Client<HttpConnector, Body>,
    lie: Mutex<Lie>,
    lied: AtomicU64,
    last_insert: Mutex<HeaderMap>,
}

impl LyingProxy {
    /// Before a ClickHouse on a port on loopback.
    pub async fn before(clickhouse: u16) -> Self {
        let state = Arc::new(Proxy {
            clickhouse,
            client: Client::builder(TokioExecutor::new()).build_http(),
            lie: Mutex::new(Lie::None),
            lied: AtomicU64::new(0),
            last_insert: Mutex::default(),
        });
        let router = Router::new()
            .fallback(passed_on)
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            state,
            _server: server,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lies from now on.
    pub fn set_lie(&self, lie: Lie) {
        *self.state.lie.lock().unwrap() = lie;
    }

    /// Counts its lies.
    pub fn lied(&self) -> u64 {
        self.state.lied.load(Ordering::Relaxed)
    }

    /// The headers of the last insert of signals.
    pub fn last_insert(&self) -> HeaderMap {
        self.state.last_insert.lock().unwrap().clone()
    }
}

fn is_insert(uri: &Uri) -> bool {
    let url = Url::parse(&format!("http://proxy{uri}")).unwrap();
    url.query_pairs().any(|(key, value)| {
        key == "query" && value.starts_with("INSERT INTO") && value.contains("raw_signals")
    })
}

/// The path and the query without a setting.
fn without(uri: &Uri, setting: &str) -> String {
    let mut url = Url::parse(&format!("http://proxy{uri}")).unwrap();
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != setting)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    format!("{}?{}", url.path(), url.query().unwrap())
}

async fn passed_on(State(proxy): State<Arc<Proxy>>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    // Whole, so that a client that is refused can read why.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return answer(400, "text/plain", "the body was cut");
    };
    let mut lie = Lie::None;
    if is_insert(&parts.uri) {
        *proxy.last_insert.lock().unwrap() = parts.headers.clone();
        lie = *proxy.lie.lock().unwrap();
    }
    if matches!(lie, Lie::TooLarge(max) if body.len() <= max) {
        lie = Lie::None;
    }
    if lie != Lie::None {
        proxy.lied.fetch_add(1, Ordering::Relaxed);
    }
    let target = match lie {
        Lie::Answer(status, kind, body) => return answer(status, kind, body),
        Lie::TooLarge(_) => return answer(413, "text/html", "<html>too large</html>"),
        Lie::DropSetting(setting) => without(&parts.uri, setting),
        _ => parts.uri.to_string(),
    };
    parts.uri = format!("http://127.0.0.1:{}{target}", proxy.clickhouse)
        .parse()
        .unwrap();
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let request = Request::from_parts(parts, Body::from(body));
    let Ok(response) = proxy.client.request(request).await else {
        return answer(502, "text/html", "<html>no ClickHouse</html>");
    };
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(Body::new(body), usize::MAX).await else {
        return answer(502, "text/html", "<html>half an answer</html>");
    };
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    change(&mut parts.headers, lie);
    Response::from_parts(parts, Body::from(body))
}

fn change(headers: &mut HeaderMap, lie: Lie) {
    match lie {
        Lie::StripHeaders => {
            let theirs: Vec<_> = headers
                .keys()
                .filter(|name| name.as_str().starts_with("x-clickhouse"))
                .cloned()
                .collect();
            for name in theirs {
                headers.remove(name);
            }
        }
        Lie::OtherQuery => {
            let other = "00000000-0000-4000-8000-000000000000".parse().unwrap();
            headers.insert("x-clickhouse-query-id", other);
        }
        Lie::FewerRows => {
            let summary = r#"{"read_rows":"0","written_rows":"0"}"#.parse().unwrap();
            headers.insert("x-clickhouse-summary", summary);
        }
        _ => {}
    }
}

fn answer(status: u16, kind: &str, body: &'static str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(Bytes::from_static(body.as_bytes())))
        .unwrap()
}
