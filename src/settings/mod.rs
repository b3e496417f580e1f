//! What the operator may set: one typed struct, filled from defaults, a TOML file, a `.env`
//! file, systemd's credentials and the environment, in that order, and checked as a whole before
//! any server is touched.

mod cache;
mod consumer;
mod dot_env;
mod fields;
mod keep;
mod layers;
mod load;
mod monitoring;
mod otel;
mod redact;
mod reload;
mod rules;
mod secret;
mod secret_file;
mod serve;
mod tokens;
mod typed;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::contract::Contracts;

pub use cache::Cache;
pub use consumer::{AckPolicy, Consumer};
pub use keep::{Keep, KeepBounds};
pub use load::{Fault, Faults};
pub use otel::Otel;
pub use redact::redacted_url;
pub use reload::{Change, Reloaded};
pub use secret::Secret;
pub use serve::Serve;
pub use tokens::{Scope, Token, check_tokens};

/// Every setting of the daemon, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The connection to NATS.
    pub nats: Nats,
    /// The JetStream stream that applications publish to.
    pub stream: Stream,
    /// The stream that takes what cannot land.
    pub dead_letters: DeadLetters,
    /// The durable pull consumer, and how much of it one instance holds.
    pub consumer: Consumer,
    /// The connection to ClickHouse, and how batches are inserted.
    pub clickhouse: ClickHouse,
    /// When a batch closes.
    pub batch: Batch,
    /// The limits a signal has to keep.
    pub validation: Validation,
    /// What is logged, and how.
    pub log: Log,
    /// Metrics, health and the live page.
    pub ops: Ops,
    /// The way in, and back, over HTTP.
    pub serve: Serve,
    /// What is known of each wallet, in Redis.
    pub cache: Cache,
    /// Traces, and where they go.
    pub otel: Otel,
    /// How the daemon stops.
    pub shutdown: Shutdown,
    written: layers::Values,
}

impl Settings {
    /// Every setting by its key, as it was written and may be shown: secrets are `***`.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String)> {
        let written = self.written.iter();
        written.map(|(key, written)| (*key, written.shown(key)))
    }

    /// Name of the stream that is the claims log.
    pub fn claims_log(&self) -> String {
        let (stream, clickhouse) = (&self.stream.name, &self.clickhouse);
        claims_log::stream_name(stream, &clickhouse.database, &clickhouse.table)
    }

    /// Deduplication tokens that the table must keep: twice those whose fences and late commits may
    /// not be over, since nothing is claimed while half of its window is taken.
    pub fn tokens_needed(&self) -> u64 {
        let alive = self.clickhouse.fence + self.clickhouse.late_commit;
        let inserts = u64::from(self.batch.max_inserts_per_second);
        let tokens = inserts
            .saturating_mul(alive.as_secs() + 1)
            .saturating_mul(2);
        tokens.max(TOKENS_MIN)
    }
}

/// Deduplication tokens that a table keeps at least, whatever the settings are.
pub const TOKENS_MIN: u64 = 10_000;

/// The connection to NATS.
#[derive(Clone, PartialEq)]
pub struct Nats {
    /// One or more server URLs, separated by commas.
    pub url: String,
    /// The user; empty means none.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// A token instead of user and password.
    pub token: Secret,
    /// The seed of an NKey instead of user and password.
    pub nkey: Secret,
    /// The text of a `.creds` file, a JWT and an NKey's seed, instead of user and password.
    pub creds: Secret,
    /// When the connection is encrypted.
    pub tls: Tls,
    /// Whom to trust, and what to show.
    pub tls_files: TlsFiles,
    /// Begins the subjects that answers and pulled messages come on.
    pub inbox_prefix: String,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long an answer of the JetStream API or a publish ack may take.
    pub request_timeout: Duration,
    /// The HTTP address of the server's monitoring, without a path.
    pub monitoring_url: Option<String>,
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            user,
            password,
            token,
            nkey,
            creds,
            tls,
            tls_files,
            inbox_prefix,
            connect_timeout,
            request_timeout,
            monitoring_url,
        } = self;
        // The URL may hold a password.
        f.debug_struct("Nats")
            .field("url", &redacted_url(url))
            .field("user", user)
            .field("password", password)
            .field("token", token)
            .field("nkey", nkey)
            .field("creds", creds)
            .field("tls", tls)
            .field("tls_files", tls_files)
            .field("inbox_prefix", inbox_prefix)
            .field("connect_timeout", connect_timeout)
            .field("request_timeout", request_timeout)
            .field("monitoring_url", monitoring_url)
            .finish()
    }
}

impl Nats {
    /// Whether no server may be spoken to in plain text: when anything that is set tells of
    /// TLS. One `tls://` URL counts for all, since a cluster's servers name each other without
    /// a scheme.
    pub fn requires_tls(&self) -> bool {
        let by_url = |url: &str| url.trim().to_ascii_lowercase().starts_with("tls://");
        self.tls != Tls::Auto || self.tls_files.any() || self.url.split(',').any(by_url)
    }
}

/// When a connection to NATS is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// Where the URL, a CA or a certificate tells of TLS, or the server asks for it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Always, and before the server has said anything.
    First,
}

/// The PEM files of a TLS connection, each readable and of its kind when the settings were
/// checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsFiles {
    /// The CAs that are trusted in place of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate, and those between it and its CA.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

/// The JetStream stream that applications publish to. The bounds apply when the daemon or
/// the producer creates it; a stream that exists keeps its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The stream's name.
    pub name: String,
    /// Its subjects are `<subject_prefix>.>`.
    pub subject_prefix: String,
    /// Where JetStream keeps the messages.
    pub storage: Storage,
    /// Copies in a NATS cluster.
    pub replicas: usize,
    /// Messages older than this are removed; zero keeps them for ever.
    pub max_age: Duration,
    /// The stream's size in bytes, at which it refuses more; zero is no bound.
    pub max_bytes: u64,
    /// How long JetStream remembers a `Nats-Msg-Id`.
    pub duplicate_window: Duration,
    /// Committed history that it keeps.
    pub keep: Keep,
}

/// Where JetStream keeps a stream's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory; gone when the server stops.
    Memory,
}

/// The stream that takes what cannot land.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetters {
    /// The stream's name.
    pub name: String,
    /// A letter's subject is `<subject_prefix>.<original subject>`.
    pub subject_prefix: String,
    /// Letters older than this are removed; zero keeps them for ever.
    pub max_age: Duration,
    /// How long JetStream remembers a letter's id.
    pub duplicate_window: Duration,
    /// Letters published at once without an ack yet.
    pub max_pending: usize,
}

/// The connection to ClickHouse, and how batches are inserted.
#[derive(Debug, Clone, PartialEq)]
pub struct ClickHouse {
    /// The URL of the HTTP interface.
    pub url: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Whom to trust over https, and what to show.
    pub tls_files: TlsFiles,
    /// The database.
    pub database: String,
    /// The table of signals.
    pub table: String,
    /// How batches are compressed on their way.
    pub compression: Compression,
    /// How long sending one chunk of a batch may block.
    pub send_timeout: Duration,
    /// How long ClickHouse's answer to an insert or a query may take.
    pub end_timeout: Duration,
    /// From a claim to the time when ClickHouse refuses its block.
    pub fence: Duration,
    /// The longest time between ClickHouse's look at a fence and the commit of the block, and the
    /// largest step back of its clock that is tolerated.
    pub late_commit: Duration,
    /// Inserts under way at once.
    pub max_concurrent_inserts: usize,
    /// Pause before the first retry; it doubles from there, with jitter.
    pub retry_min: Duration,
    /// The longest pause between two retries.
    pub retry_max: Duration,
    /// Whether `run` brings the schema up to date when it starts.
    pub migrate: bool,
    /// Rows are removed this long after their arrival; zero keeps them for ever.
    pub retention: Duration,
}

impl ClickHouse {
    /// Whether ClickHouse is spoken to over TLS, and never in plain text.
    pub fn is_https(&self) -> bool {
        self.url.to_ascii_lowercase().starts_with("https://")
    }

    /// The table with its database.
    pub fn full_table(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }
}

/// How batches are compressed on their way to ClickHouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// None to this machine, LZ4 to any other.
    #[default]
    Auto,
    /// LZ4 frames.
    Lz4,
    /// As they are.
    None,
}

/// When a batch closes: at the first bound it meets.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Rows in a batch.
    pub max_rows: usize,
    /// Encoded bytes in a batch, before compression.
    pub max_bytes: usize,
    /// Longest time from a batch's first row until it closes, in much traffic.
    pub max_wait: Duration,
    /// Batches a second of one instance, so that ClickHouse's merges keep up.
    pub max_inserts_per_second: u32,
}

/// The limits a signal has to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// Bytes of a whole message.
    pub max_signal_bytes: usize,
    /// Characters of `source_id`.
    pub source_id_max_chars: usize,
    /// Characters of `event_type`.
    pub event_type_max_chars: usize,
    /// Characters of `user_id`.
    pub user_id_max_chars: usize,
    /// Characters of `wallet_address`.
    pub wallet_address_max_chars: usize,
    /// The highest `severity`; the lowest is 0.
    pub severity_max: u8,
    /// What payloads have to be, and what is made of others.
    pub contracts: Contracts,
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A filter in the syntax of tracing's `EnvFilter`, such as `info,risksignal=debug`.
    pub filter: String,
    /// The shape of a line.
    pub format: LogFormat,
    /// Lines a second for batches and dead letters; beyond, a summary takes their place.
    /// 0 always gives the summary.
    pub lines_per_second: u32,
    /// How often the summary is written.
    pub summary_interval: Duration,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Metrics, health and the live page.
#[derive(Debug, Clone, PartialEq)]
pub struct Ops {
    /// Where they are served; `None` is nowhere.
    pub listen: Option<SocketAddr>,
    /// What a client has to show; empty lets everyone in.
    pub token: Secret,
    /// The certificate that clients are shown, and its key; no `ca`.
    pub tls_files: TlsFiles,
}

/// How the daemon stops.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// How long the daemon may take, after the first signal, to commit and ack what it holds.
    pub grace: Duration,
}
