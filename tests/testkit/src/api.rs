//! Answers of `risksignal serve`. Every answer is held to the document that the server itself
//! serves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use risksignal::command::log_lines::PUBLISHING;
use risksignal::serve::log_lines::SERVING;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::binary::Daemon;
use crate::certificates::{Authority, certificates};
use crate::ops::Answer;
use crate::setting;
use crate::stack::Stack;

/// Setting that makes a server answer on a free port.
pub const ANY_PORT: (&str, &str) = setting!(serve.listen = "127.0.0.1:0");
/// The token that [`start`] lets in.
pub const TOKEN: &str = "rs_tellme-everything";

/// A line of the file of tokens, by a token in clear.
pub fn entry(name: &str, token: &str, more: &str) -> String {
    let hash = Sha256::digest(token);
    let scopes = if more.contains("scopes") {
        ""
    } else {
        "scopes = ['ingest']"
    };
    format!("[[token]]\nname = '{name}'\nsha256 = '{hash:x}'\n{scopes}\n{more}\n")
}

/// Writes the file of tokens.
pub fn write_tokens(stack: &Stack, text: &str) -> PathBuf {
    let path = stack.work_dir().join("tokens.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Starts `risksignal serve` with [`TOKEN`], and waits until it publishes.
pub async fn start(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Api) {
    let tokens = write_tokens(stack, &entry("app", TOKEN, ""));
    start_with_tokens(stack, &tokens, more).await
}

/// Like [`start`], with a file of tokens.
pub async fn start_with_tokens(
    stack: &Stack,
    tokens: &Path,
    more: &[(&str, &str)],
) -> (Daemon, Api) {
    let daemon = spawn(stack, tokens, more);
    daemon.logged(PUBLISHING).await;
    let api = Api::of(&daemon).await;
    (daemon, api)
}

/// Starts `risksignal serve`.
pub fn spawn(stack: &Stack, tokens: &Path, more: &[(&str, &str)]) -> Daemon {
    let tokens = tokens.display().to_string();
    let mut environment = vec![ANY_PORT, setting!(serve.tokens_file = &tokens)];
    environment.extend(more);
    Daemon::spawn(
        &["serve"],
        &stack.environment(&environment),
        &stack.work_dir(),
    )
}

/// Asks one server.
pub struct Api {
    pub address: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    scheme: &'static str,
    document: Mutex<Option<Arc<Value>>>,
    seen: Mutex<BTreeSet<(String, String, u16)>>,
}

/// A request to `/v1/signals`, as yet without a body.
pub struct Send<'a> {
    api: &'a Api,
    headers: Vec<(String, String)>,
}

impl Api {
    /// Asks a server that was started with [`ANY_PORT`].
    pub async fn of(daemon: &Daemon) -> Self {
        let line = daemon.logged(SERVING).await;
        Self::at(line["address"].as_str().unwrap(), None)
    }

    /// At an address; over https where a CA is given to trust.
    pub fn at(address: &str, authority: Option<&Authority>) -> Self {
        let mut roots = RootCertStore::empty();
        if let Some(authority) = authority {
            roots.add_parsable_certificates(certificates(Path::new(&authority.file())));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            address: address.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            scheme: if authority.is_some() { "https" } else { "http" },
            document: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// A request with [`TOKEN`].
    pub fn send(&self) -> Send<'_> {
        self.send_as(TOKEN)
    }

    /// A request with a token.
    pub fn send_as(&self, token: &str) -> Send<'_> {
        self.send_without_token()
            .header("authorization", &format!("Bearer {token}"))
    }

    pub fn send_without_token(&self) -> Send<'_> {
        let (api, headers) = (self, Vec::new());
        Send { api, headers }
    }

    /// Any request.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Body,
    ) -> Result<Answer, Error> {
        let uri = format!("{}://{}{path}", self.scheme, self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = self.client.request(request.body(body).unwrap()).await?;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        Ok(answer)
    }

    /// The document that the server serves.
    pub async fn document(&self) -> Arc<Value> {
        if let Some(document) = self.document.lock().unwrap().clone() {
            return document;
        }
        let answer = self.ask("GET", "/v1/openapi.json", &[], Body::empty());
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200);
        let document = Arc::new(answer.json());
        *self.document.lock().unwrap() = Some(Arc::clone(&document));
        document
    }

    /// Asks, and holds the answer to the document.
    pub async fn ask_as_documented(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Body,
    ) -> Answer {
        let answer = self.ask(method, path, headers, body).await.unwrap();
        let status = answer.status.as_u16();
        let method = method.to_lowercase();
        let document = self.document().await;
        let path = documented(&document, path);
        let response = &document["paths"][&path][&method]["responses"][status.to_string()];
        let output = format!("{method} {path} {status}: {}", answer.body);
        assert!(response.is_object(), "not in the document: {output}");
        match response.get("content") {
            Some(content) => holds(&answer, content, &document["components"], &output),
            None => assert_eq!(answer.body, "", "{output}"),
        }
        for name in response["headers"].as_object().into_iter().flatten() {
            // The one of 207 is there only when something is to be sent again, that of 403 only
            // where another token is of use.
            let (name, header) = name;
            let may_lack = status == 207 || status == 403 || header["required"] == false;
            let has = answer.headers.contains_key(name.as_str());
            assert!(has || may_lack, "{name} in {output}");
        }
        if status >= 400 {
            assert_eq!(answer.json()["status"], status, "{output}");
        }
        let mut seen = self.seen.lock().unwrap();
        seen.insert((method, path, status));
        answer
    }

    /// Reads as [`TOKEN`] may.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// Like [`Self::get`], with more headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.get_as(TOKEN, path, headers).await
    }

    /// Like [`Self::get_with`], with another token.
    pub async fn get_as(&self, token: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let token = format!("Bearer {token}");
        let headers: Vec<(String, String)> = [("authorization", token.as_str())]
            .iter()
            .chain(headers)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.ask_as_documented("GET", path, &headers, Body::empty())
            .await
    }

    /// Method, path and status of every answer until now.
    pub fn seen(&self) -> BTreeSet<(String, String, u16)> {
        self.seen.lock().unwrap().clone()
    }
}

/// The path as the document has it, with names in place of what they stand for.
fn documented(document: &Value, path: &str) -> String {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (asked, output) = (path.split('/'), template.split('/'));
        asked.clone().count() == output.clone().count()
            && asked
                .zip(output)
                .all(|(asked, output)| asked == output || output.starts_with('{'))
    };
    let mut paths = document["paths"].as_object().unwrap().keys();
    let exact = paths.clone().find(|output| *output == path);
    let found = exact.or_else(|| paths.find(|output| fits(output)));
    found.map_or(path, String::as_str).to_owned()
}

/// Holds a body to the schema of its content type.
fn holds(answer: &Answer, content: &Value, components: &Value, output: &str) {
    let content_type = answer.headers["content-type"].to_str().unwrap();
    let schema = &content[content_type]["schema"];
    assert!(schema.is_object(), "{content_type} of {output}");
    let schema = json!({"allOf": [schema], "components": components});
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let body = answer.json();
    let faults: Vec<String> = validator
        .iter_errors(&body)
        .map(|fault| fault.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?} in {output}");
}

impl Send<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// JSON as it is written.
    pub async fn json(self, text: impl Into<String>) -> Answer {
        let send = self.header("content-type", "application/json");
        send.body(Bytes::from(text.into())).await
    }

    /// A signal a line.
    pub async fn ndjson(self, text: impl Into<String>) -> Answer {
        let send = self.header("content-type", "application/x-ndjson");
        send.body(Bytes::from(text.into())).await
    }

    /// Like [`Self::ndjson`], not held to the document.
    pub async fn try_ndjson(self, text: String) -> Result<Answer, Error> {
        self.header("content-type", "application/x-ndjson")
            .try_body(text)
            .await
    }

    pub async fn body(self, body: impl Into<Body>) -> Answer {
        let (api, headers, body) = (self.api, &self.headers, body.into());
        api.ask_as_documented("POST", "/v1/signals", headers, body)
            .await
    }

    /// Like [`Self::json`], where there may be no answer.
    pub async fn try_json(self, text: &str) -> Result<Answer, Error> {
        self.header("content-type", "application/json")
            .try_body(text.to_owned())
            .await
    }

    async fn try_body(self, text: String) -> Result<Answer, Error> {
        let (api, headers) = (self.api, &self.headers);
        api.ask("POST", "/v1/signals", headers, Body::from(text))
            .await
    }
}

/// The sequences of an answer's signals, all of which must be stored.
pub fn sequences(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    let sequence = |result: &Value| result["sequence"].as_u64().unwrap();
    results.iter().map(sequence).collect()
}

/// The seconds that a client is to wait.
pub fn retry_after(headers: &HeaderMap) -> u64 {
    headers["retry-after"].to_str().unwrap().parse().unwrap()
}
