//! A nats-server, a hostile one, and what a reader reports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use risksignal_nats_reader::{
    Address, Ended, FailedAttempt, Inbox, Login, Message, Options, Reader, Reports, ServerError,
    Tls,
};
use tokio::time::{Instant, sleep, timeout};

/// Ends a test that waits for what does not come. No test is about this time.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const MESSAGE_MAX: usize = 1 << 20;

/// A nats-server with its own store, killed when dropped.
pub struct Nats {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
    data: tempfile::TempDir,
}

pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

impl Nats {
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_at(free_port(), arguments).await
    }

    pub async fn start_at(port: u16, arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|one| one.to_string()).collect();
        let child = spawn(port, data.path(), &arguments);
        let nats = Self {
            child,
            port,
            arguments,
            data,
        };
        nats.accepts().await;
        nats
    }

    async fn accepts(&self) {
        until("the server accepts connections", async || {
            let address = ("127.0.0.1", self.port);
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid)
            .status();
        assert!(status.unwrap().success());
    }

    pub async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.port, self.data.path(), &self.arguments);
        self.accepts().await;
    }

    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, data: &Path, arguments: &[String]) -> Child {
    #[expect(
        clippy::disallowed_methods,
        reason = "names a program of this test, and no setting"
    )]
    let other = std::env::var_os("NATS_SERVER");
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let usual = || top.join(".local/bin/nats-server");
    Command::new(other.map_or_else(usual, |program| top.join(program)))
        .args(["--jetstream", "--addr=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--store_dir={}", data.display()))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run `infra/local/stack fetch` first")
}

/// Waits until `done`.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// All reports of a reader, as lines.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub async fn has(&self, part: &str) {
        let lines = async || self.lines().iter().any(|line| line.contains(part));
        until(&format!("{part} in {:?}", self.lines()), lines).await;
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Reports for Log {
    fn connected(&self, server: &Address, again: bool) {
        self.add(format!("connected to {server}, again: {again}"));
    }

    fn ended(&self, why: &Ended) {
        self.add(format!("ended: {why}"));
    }

    fn failed(&self, attempts: &[FailedAttempt]) {
        for attempt in attempts {
            self.add(format!("failed: {}: {}", attempt.server, attempt.error));
        }
    }

    fn refused(&self, error: &ServerError) {
        self.add(format!("refused: {error}"));
    }

    fn leaving(&self, server: &Address) {
        self.add(format!("leaving: {server}"));
    }
}

pub fn options(servers: &[String], login: Login, log: &Log) -> Options {
    Options {
        servers: servers
            .iter()
            .map(|url| Address::parse(url).unwrap())
            .collect(),
        name: "test".to_owned(),
        login,
        tls: Tls {
            is_required: false,
            is_first: false,
            config: Box::new(|| Err("there is no TLS in this test".into())),
        },
        connect_timeout: Duration::from_secs(5),
        ping_interval: DEADLINE,
        inbox_prefix: "_INBOX".to_owned(),
        message_max: MESSAGE_MAX,
        inbox_max: MESSAGE_MAX,
        reports: Box::new(log.clone()),
    }
}

pub async fn connect(servers: &[String], log: &Log) -> Reader {
    Reader::connect(options(servers, Login::None, log))
        .await
        .unwrap()
}

/// Receives so many messages.
pub async fn receive(inbox: &Inbox, count: usize) -> Vec<Message> {
    let mut received = Vec::new();
    while received.len() < count {
        let left = count - received.len();
        let mut chunk = Vec::new();
        let more = timeout(DEADLINE, inbox.receive(&mut chunk, left)).await;
        assert_eq!(more.expect("a message comes"), Some(()));
        received.extend(chunk);
    }
    received
}
