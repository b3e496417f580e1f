//! Answers of the daemon over HTTP.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use risksignal::ops::log_lines::SERVING;
use serde_json::Value;

use crate::binary::Daemon;
use crate::repository::repository;
use crate::setting;
use crate::stack::Stack;
use crate::wait::eventually;

/// Setting that makes a daemon answer on a free port.
pub const ANY_PORT: (&str, &str) = setting!(ops.listen = "127.0.0.1:0");

/// A daemon that answers on a free port, and soon sees ClickHouse go and come back.
pub async fn watched_daemon(stack: &Stack) -> (Daemon, Ops) {
    watched_daemon_with(stack, &[]).await
}

/// Like [`watched_daemon`], with further settings.
pub async fn watched_daemon_with(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Ops) {
    let retries = [
        ANY_PORT,
        setting!(clickhouse.retry_max = "1s"),
        setting!(clickhouse.end_timeout = "2s"),
    ];
    let daemon = stack.daemon(&[&retries, more].concat()).await;
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Asks one daemon.
pub struct Ops {
    pub address: String,
    client: Client<HttpConnector, Body>,
}

impl Ops {
    /// Asks a daemon that was started with [`ANY_PORT`].
    pub async fn of(daemon: &Daemon) -> Self {
        let line = daemon.logged(SERVING).await;
        Self::at(line["address"].as_str().unwrap())
    }

    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Setting that makes a command ask this daemon.
    pub fn listen(&self) -> (&str, &str) {
        setting!(ops.listen = &self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// An answer whose body is still to come.
    pub async fn open(&self, path: &str) -> Response<Incoming> {
        let request = Request::get(format!("http://{}{path}", self.address));
        let request = request.body(Body::empty()).unwrap();
        self.client.request(request).await.unwrap()
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = self.client.request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Waits until `/readyz` says so, and returns what it says.
    pub async fn ready(&self, ready: bool) -> Value {
        let what = format!("/readyz says {ready}");
        eventually(&what, async || {
            let answer = self.get("/readyz").await;
            let code = if ready { 200 } else { 503 };
            (answer.status == code).then(|| answer.json())
        })
        .await
    }

    /// Waits until it is not ready because of one dependency, and returns the reason.
    pub async fn down(&self, dependency: &str) -> String {
        let what = format!("{dependency} is down");
        eventually(&what, async || {
            let answer = self.get("/readyz").await;
            let found = answer.json()["dependencies"][dependency].clone();
            (found["state"] == "down").then(|| {
                assert_eq!(answer.status, 503);
                found["reason"].as_str().unwrap().to_owned()
            })
        })
        .await
    }

    /// The sum over the series of a metric; `None` when there is none.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        total(&self.get("/metrics").await.body, name)
    }
}

/// The sum over the series of a metric in Prometheus' text.
pub fn total(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next()? == name;
        found.then(|| value.parse::<f64>().unwrap())
    });
    values.reduce(|a, b| a + b)
}

/// A program of the Prometheus package: fetched by `infra/local/stack fetch`, or on PATH.
pub fn prometheus_program(name: &str) -> PathBuf {
    let fetched = repository(".local/bin").join(name);
    if fetched.exists() {
        fetched
    } else {
        PathBuf::from(name)
    }
}

/// `promtool check metrics` on a scrape.
pub fn promtool_check(text: &str) -> Output {
    let mut promtool = Command::new(prometheus_program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    promtool.wait_with_output().unwrap()
}
