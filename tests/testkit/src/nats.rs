//! A private nats-server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use async_nats::ConnectOptions;
use async_nats::connection::State;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;

use crate::process::{Process, accepts, free_port, stack_serve};
use crate::repository;
use crate::skip::skip_but_in_ci;
use crate::wait::eventually;

pub const STREAM: &str = "SIGNALS";
/// The claims log of the default table.
pub const CLAIMS: &str = "SIGNALS_CLAIMS_risksignal_raw_signals";
pub const DEAD_LETTERS: &str = "SIGNALS_DLQ";
pub const ADVISORIES: &str = "SIGNALS_DLQ_ADVISORIES_signals-to-clickhouse";
pub const CONSUMER: &str = "signals-to-clickhouse";

/// Fetches a nats-server by an option of `stack fetch`; returns `false`, and reports a skipped
/// test, where it cannot be had.
///
/// # Panics
/// In CI, where it can.
pub fn fetched(option: &[&str]) -> bool {
    let stack = repository("infra/local/stack");
    let done = Command::new(stack).arg("fetch").args(option).output();
    let done = done.unwrap();
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        skip_but_in_ci(&format!("a nats-server cannot be fetched: {words}"));
    }
    done.status.success()
}

/// Differences of a server from the usual one.
#[derive(Clone, Default)]
pub struct Options {
    /// Further arguments of `stack serve nats`.
    pub arguments: Vec<String>,
    /// Variables of the server's process.
    pub environment: Vec<(String, String)>,
    /// Login of the test's own connections.
    pub login: ConnectOptions,
}

impl Options {
    /// With further arguments.
    pub fn arguments(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|text| text.to_string()).collect(),
            ..Self::default()
        }
    }

    /// With a configuration file in place of the usual one.
    pub fn config(path: &Path, login: ConnectOptions) -> Self {
        Self {
            arguments: vec![format!("--config={}", path.display())],
            login,
            ..Self::default()
        }
    }
}

pub struct Nats {
    process: Mutex<Process>,
    options: Options,
    data: PathBuf,
    port: u16,
    /// The connection of [`Self::jetstream`], until the server is disturbed.
    shared: Mutex<Option<async_nats::Client>>,
}

impl Nats {
    pub fn spawn(data: PathBuf, mut options: Options) -> Self {
        std::fs::create_dir_all(&data).unwrap();
        let port = free_port();
        let fixed = [
            "nats".to_owned(),
            format!("--data={}", data.display()),
            format!("--port={port}"),
        ];
        options.arguments.splice(..0, fixed);
        Self {
            process: Mutex::new(serve(&options, &data)),
            options,
            data,
            port,
            shared: Mutex::new(None),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().pid()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn ready(&self) {
        accepts(self.port).await;
        // The client does not understand what an old server says of the account.
        eventually("JetStream answers", async || {
            let client = self.client().await;
            let answer = client.request("$JS.API.INFO", "".into()).await.ok()?;
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).ok()?;
            answer.get("error").is_none().then_some(())
        })
        .await;
    }

    pub fn signal(&self, name: &str) {
        self.forget_connection();
        self.process.lock().unwrap().signal(name);
    }

    pub fn kill(&self) {
        self.forget_connection();
        self.process.lock().unwrap().kill();
    }

    /// Starts it again on the same data and port.
    pub async fn restart(&self) {
        self.restart_not_waited_for();
        self.ready().await;
    }

    /// Like [`Self::restart`], for one that the test itself cannot connect to.
    pub fn restart_not_waited_for(&self) {
        self.forget_connection();
        *self.process.lock().unwrap() = serve(&self.options, &self.data);
    }

    /// The folders of its streams, each by the stream's name.
    pub fn streams(&self) -> PathBuf {
        self.data.join("jetstream/RISKSIGNAL/streams")
    }

    /// Like [`Self::restart`], with further arguments of `stack serve nats`.
    pub async fn restart_with(&self, arguments: &[&str]) {
        let mut options = self.options.clone();
        let more = arguments.iter().map(|text| text.to_string());
        options.arguments.extend(more);
        self.forget_connection();
        *self.process.lock().unwrap() = serve(&options, &self.data);
        self.ready().await;
    }

    /// Kills it and takes away what it has written of the daemon's consumer's deliveries, as
    /// when they were too young to be written.
    pub fn kill_and_forget(&self) {
        self.kill();
        let consumer = format!("{STREAM}/obs/{CONSUMER}/o.dat");
        std::fs::remove_file(self.streams().join(consumer)).unwrap();
    }

    /// Waits until it has written that the daemon's consumer has acked every message up to a
    /// sequence. A server that is killed before forgets acks, and those messages wait for the ack
    /// wait, whatever the daemon does.
    pub async fn acks_written(&self, sequence: u64) {
        let file = self
            .streams()
            .join(format!("{STREAM}/obs/{CONSUMER}/o.dat"));
        eventually("NATS has written the acks", async || {
            let state = std::fs::read(&file).ok()?;
            (ack_floor(&state)? == sequence).then_some(())
        })
        .await;
    }

    pub async fn client(&self) -> async_nats::Client {
        eventually("NATS accepts a client", async || {
            self.options.login.clone().connect(self.url()).await.ok()
        })
        .await
    }

    /// JetStream over a connection that all callers share.
    pub async fn jetstream(&self) -> jetstream::Context {
        let shared = self.shared.lock().unwrap().clone();
        let connected = |client: &async_nats::Client| client.connection_state() == State::Connected;
        if let Some(client) = shared.filter(connected) {
            return jetstream::new(client);
        }
        let client = self.client().await;
        *self.shared.lock().unwrap() = Some(client.clone());
        jetstream::new(client)
    }

    /// Has the next call of [`Self::jetstream`] make a connection.
    fn forget_connection(&self) {
        self.shared.lock().unwrap().take();
    }

    /// The daemon's consumer; `None` while there is none.
    pub async fn consumer(&self) -> Option<consumer::Info> {
        self.consumer_named(CONSUMER).await
    }

    /// A consumer of the stream of signals; `None` while there is none.
    pub async fn consumer_named(&self, name: &str) -> Option<consumer::Info> {
        let stream = self.jetstream().await.get_stream(STREAM).await.ok()?;
        stream.consumer_info(name).await.ok()
    }

    /// Creates the stream of signals as an application's own set-up would.
    pub async fn create_stream(&self) {
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["signals.>".to_owned()],
            ..Default::default()
        };
        self.jetstream().await.create_stream(config).await.unwrap();
    }

    /// Sets the size at which a stream refuses more, and returns how many bytes it has.
    pub async fn bound_stream(&self, name: &str, bound: impl Fn(u64) -> i64) -> u64 {
        let jetstream = self.jetstream().await;
        let stream = jetstream.get_stream(name).await.unwrap();
        let info = stream.cached_info().clone();
        let mut config = info.config;
        config.max_bytes = bound(info.state.bytes);
        jetstream.update_stream(config).await.unwrap();
        info.state.bytes
    }

    /// Number of messages that a stream holds.
    pub async fn messages_left(&self, stream: &str) -> u64 {
        let mut stream = self.jetstream().await.get_stream(stream).await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    /// Every message of a stream, in order.
    pub async fn messages(&self, stream: &str) -> Vec<jetstream::Message> {
        let mut stream = self.jetstream().await.get_stream(stream).await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let reader = stream
            .create_consumer(consumer::pull::OrderedConfig::default())
            .await
            .unwrap();
        let messages = reader.messages().await.unwrap();
        messages
            .take(usize::try_from(count).unwrap())
            .map(Result::unwrap)
            .collect()
            .await
    }
}

/// Reads a consumer's ack floor in its stream: after two bytes of header and the floor among its
/// deliveries, both of which are numbers of 7 bits a byte (nats-server, `encodeConsumerState`).
fn ack_floor(state: &[u8]) -> Option<u64> {
    let mut bytes = state.iter().skip(2);
    let mut number = || {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    };
    number()?;
    number()
}

fn serve(options: &Options, data: &Path) -> Process {
    let mut command = stack_serve(&options.arguments);
    command.envs(options.environment.iter().cloned());
    Process::spawn(command, &data.join("output.log"))
}

/// The sequence of a message in its stream.
pub fn sequence(message: &jetstream::Message) -> u64 {
    message.info().unwrap().stream_sequence
}

/// A header that must be there.
pub fn header(message: &jetstream::Message, name: &str) -> String {
    let headers = message.headers.as_ref().unwrap();
    headers
        .get(name)
        .unwrap_or_else(|| panic!("no header {name} in {headers:?}"))
        .to_string()
}
