//! A nats-server, a table, and processes that follow the log.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use claims::{
    ClaimBlock, Entry, Fate, LogPosition, Nonce, Position, PublisherId, Record, RecordBody,
    Snapshot, StoredEntry,
};
use risksignal_claims_log::{
    Fences, Holdings, HoldingsError, HoldingsPage, LogStorage, LogStream, Process, Timing,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Creation time of the stream of signals.
pub const CREATED: i64 = 7;
/// Long over, so that a log is rebuilt at once.
pub const FENCE: i64 = 1;
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A nats-server with its own store, killed when dropped.
pub struct Nats {
    pub child: Child,
    pub port: u16,
    pub data: tempfile::TempDir,
}

impl Nats {
    pub async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let data = tempfile::tempdir().unwrap();
        let child = spawn(port, data.path());
        let nats = Self { child, port, data };
        nats.context().await;
        nats
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = spawn(self.port, self.data.path());
        self.context().await;
    }

    /// Opens a new connection.
    pub async fn context(&self) -> jetstream::Context {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Ok(client) = async_nats::connect(format!("127.0.0.1:{}", self.port)).await {
                let context = jetstream::new(client);
                if context.query_account().await.is_ok() {
                    return context;
                }
            }
            assert!(Instant::now() < deadline, "nats-server does not answer");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the log, with its first snapshot.
    pub async fn log(&self) -> LogStream {
        let log = self.other_log().await;
        log.ensure(LogStorage::File, 1).await.unwrap();
        let first = Record {
            id: Nonce(1),
            publisher: PublisherId(1),
            generation: Nonce(1),
            tip: LogPosition::START,
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(Snapshot::first(CREATED, 0))),
        };
        assert_eq!(log.append(&first).await.unwrap(), Some(1));
        log
    }

    /// Returns the log, over a new connection.
    pub async fn other_log(&self) -> LogStream {
        LogStream::new(self.context().await, "SIGNALS", "risksignal", "raw_signals")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn spawn(port: u16, data: &Path) -> Child {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(top.join(".local/bin/nats-server"))
        .args(["--jetstream", "--addr=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--store_dir={}", data.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run `infra/local/stack fetch` first")
}

/// Rows of the table, by message and claim. The stream has every message as it was claimed.
#[derive(Debug, Clone, Default)]
pub struct Table(pub Vec<(u64, Nonce)>);

impl Table {
    fn all(&self) -> Vec<StoredEntry> {
        let stored = |(seq, claim): &(u64, Nonce)| StoredEntry {
            position: position(*seq),
            claim: Some(*claim),
        };
        self.0.iter().map(stored).collect()
    }
}

impl Holdings for Table {
    async fn stream(&self) -> Result<i64, HoldingsError> {
        Ok(CREATED)
    }

    async fn are_as_claimed(&self, _: &BTreeSet<Position>) -> Result<bool, HoldingsError> {
        Ok(true)
    }

    async fn stored(
        &self,
        _: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<HoldingsPage, HoldingsError> {
        let is_within = |one: &StoredEntry| {
            let mut ranges = ranges.iter();
            ranges.any(|range| range.contains(&one.position.stream_seq))
        };
        let mut all = self.all();
        all.retain(is_within);
        all.sort_by_key(|one| one.position.stream_seq);
        // In pages of one row.
        let next = all.get(1).map(|one| one.position.stream_seq);
        all.truncate(1);
        Ok(HoldingsPage { stored: all, next })
    }

    async fn last_stored(&self, _: i64) -> Result<Option<Position>, HoldingsError> {
        Ok(self.all().into_iter().map(|one| one.position).max())
    }

    async fn fences(&self) -> Result<Fences, HoldingsError> {
        Ok(Fences {
            longest: 1,
            late: 1,
        })
    }

    async fn clock(&self) -> Result<i64, HoldingsError> {
        let since = std::time::UNIX_EPOCH.elapsed()?;
        Ok(i64::try_from(since.as_secs())?)
    }
}

pub fn position(stream_seq: u64) -> Position {
    Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns: 0,
    }
}

pub const TIMING: Timing = Timing {
    linger: Duration::from_millis(1),
    grace: Duration::from_millis(50),
};

/// Starts a process that follows the log in the background.
pub async fn process(log: LogStream) -> (Process, CancellationToken) {
    let process = Process::new(log, 100_000, TIMING);
    let shutdown = CancellationToken::new();
    let (running, token) = (process.clone(), shutdown.clone());
    tokio::spawn(async move { running.run(&Table::default(), &token).await });
    tokio::time::timeout(DEADLINE, process.ready())
        .await
        .unwrap();
    (process, shutdown)
}

pub fn block(sequences: impl Iterator<Item = u64>) -> ClaimBlock {
    let entry = |stream_seq| Entry {
        stream_seq,
        published_ns: 0,
        fate: Fate::Row,
    };
    ClaimBlock {
        stream_created_ns: CREATED,
        fence: FENCE,
        table: 0,
        entries: sequences.map(entry).collect(),
    }
}
