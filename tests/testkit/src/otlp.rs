//! A receiver of traces by OTLP over HTTP, which keeps what it gets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, status::StatusCode as SpanStatus};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::process::free_port;
use crate::wait::eventually;

/// Attributes by name, as texts.
pub type Attributes = BTreeMap<String, String>;

/// A receiver on loopback; it ends when this is dropped.
pub struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Request>>>,
    _server: JoinSet<()>,
}

/// One request that came.
#[derive(Clone)]
pub struct Request {
    pub headers: HeaderMap,
    pub resource: Attributes,
    pub spans: Vec<Span>,
}

/// A span. Ids are in hexadecimal.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub kind: SpanKind,
    pub trace: String,
    pub id: String,
    /// Empty for none.
    pub parent: String,
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    /// Name and attributes of each event.
    pub events: Vec<(String, Attributes)>,
    /// Trace and span of each link, as a `traceparent` has them.
    pub links: Vec<String>,
    pub dropped_links: u32,
    pub status: SpanStatus,
    pub message: String,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::on(free_port()).await
    }

    /// On a port.
    pub async fn on(port: u16) -> Self {
        let got = Arc::<Mutex<Vec<Request>>>::default();
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&got));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            got,
            _server: server,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests that have come until now.
    pub fn requests(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }

    /// Every span that has come until now.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests().into_iter();
        requests.flat_map(|request| request.spans).collect()
    }

    /// Spans of a name.
    pub fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// Waits for a span of a name.
    pub async fn got(&self, name: &str) -> Span {
        eventually(name, async || self.named(name).pop()).await
    }
}

impl Span {
    pub fn attribute(&self, name: &str) -> &str {
        let value = self.attributes.get(name);
        value.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Reads an attribute as a number.
    pub fn number(&self, name: &str) -> u64 {
        self.attribute(name).parse().unwrap()
    }
}

async fn receive(
    State(got): State<Arc<Mutex<Vec<Request>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut got = got.lock().unwrap();
    for of_resource in request.resource_spans {
        let spans = of_resource.scope_spans.into_iter();
        got.push(Request {
            headers: headers.clone(),
            resource: attributes(of_resource.resource.unwrap_or_default().attributes),
            spans: spans.flat_map(|scope| scope.spans).map(span).collect(),
        });
    }
    let answer = ExportTraceServiceResponse::default();
    (StatusCode::OK, answer.encode_to_vec())
}

fn span(span: otlp::Span) -> Span {
    let status = span.status.clone().unwrap_or_default();
    let links = span.links.iter();
    let events = span.events.iter().cloned();
    Span {
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        events: events
            .map(|event| (event.name, attributes(event.attributes)))
            .collect(),
        links: links
            .map(|link| format!("{}-{}", hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        dropped_links: span.dropped_links_count,
        status: status.code(),
        message: status.message,
        attributes: attributes(span.attributes),
        name: span.name,
    }
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    let text = |attribute: KeyValue| {
        let value = attribute.value.and_then(|value| value.value);
        let text = match value {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => panic!("{} is {other:?}", attribute.key),
        };
        (attribute.key, text)
    };
    attributes.into_iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
