//! The stream of a claims log: created, verified, appended to and read.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use claims::{Log, LogReadError, Nonce, Record, RecordBody};
use futures_util::StreamExt;
use tokio::time::timeout;
use tracing::debug;

use crate::config::first_fault;
use crate::error::ClaimsLogError;

/// Header by which one publish appends a message and purges all before it.
const ROLLUP: &str = "Nats-Rollup";

/// Time limit for the next record of the log.
const SILENCE: Duration = Duration::from_secs(5);

/// Storage of the log's stream, the same as that of the stream of signals.
pub type LogStorage = StorageType;

/// Metadata key of the stream: the ledger in ClickHouse that it was created for.
const LEDGER: &str = "risksignal.ledger";

/// The stream of a claims log.
#[derive(Debug, Clone)]
pub struct LogStream {
    context: Context,
    name: String,
    /// Names of the ledger; `None` if unknown.
    ledger: Option<BTreeSet<String>>,
}

impl LogStream {
    /// Creates the log of claims on `stream` for one table. Its name joins their identifiers with
    /// `_`, and is also the subject.
    pub fn new(context: Context, stream: &str, database: &str, table: &str) -> Self {
        Self {
            context,
            name: stream_name(stream, database, table),
            ledger: None,
        }
    }

    /// Creates the log of this name.
    pub fn named(context: Context, name: String) -> Self {
        Self {
            context,
            name,
            ledger: None,
        }
    }

    /// Requires the log to belong to this ledger: a table name in two ClickHouse servers is two
    /// tables.
    pub fn with_ledger(self, ledger: Option<BTreeSet<String>>) -> Self {
        Self { ledger, ..self }
    }

    /// Returns the name of the stream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the connection to NATS.
    pub fn client(&self) -> async_nats::Client {
        self.context.client()
    }

    /// Creates the stream if it is absent, and verifies it if it is present.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the stream would lose records.
    pub async fn ensure(
        &self,
        storage: LogStorage,
        replicas: usize,
    ) -> Result<Info, ClaimsLogError> {
        let config = Config {
            name: self.name.clone(),
            subjects: vec![self.name.clone()],
            description: Some("claims of risksignal; never purge or edit it".to_owned()),
            storage,
            num_replicas: replicas,
            discard: DiscardPolicy::New,
            deny_delete: true,
            allow_rollup: true,
            allow_direct: false,
            metadata: self.metadata(),
            ..Config::default()
        };
        if let Some(info) = self.find().await? {
            return self.verify(info);
        }
        match self.context.create_stream(config).await {
            Ok(created) => self.verify(created.cached_info().clone()),
            // Another instance was faster.
            Err(error) if is_name_in_use(&error.kind()) => match self.find().await? {
                Some(info) => self.verify(info),
                None => Err(self.api("create the stream", error)),
            },
            Err(error) => Err(self.api("create the stream", error)),
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let name = self.ledger.iter().flatten().next();
        let entry = name.map(|name| (LEDGER.to_owned(), name.clone()));
        entry.into_iter().collect()
    }

    /// Returns the stream's configuration and state; `None` if there is no stream.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn find(&self) -> Result<Option<Info>, ClaimsLogError> {
        match self.context.get_stream(&self.name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(source)
                    if source.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(self.api("look up the stream", error)),
            },
        }
    }

    /// Returns the stream's state, and verifies its configuration; `None` if there is no stream.
    /// Changes nothing.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the stream would lose records.
    pub async fn check(&self) -> Result<Option<Info>, ClaimsLogError> {
        match self.find().await? {
            Some(info) => self.verify(info).map(Some),
            None => Ok(None),
        }
    }

    /// Rejects a stream that drops, expires or loses records, or cannot accept a snapshot.
    fn verify(&self, info: Info) -> Result<Info, ClaimsLogError> {
        let config = &info.config;
        if let Some((key, found, wanted)) = first_fault(config, &self.name) {
            return Err(ClaimsLogError::Config {
                stream: self.name.clone(),
                key,
                found,
                wanted,
            });
        }
        // Earlier releases named no ledger.
        let named = config.metadata.get(LEDGER);
        let is_other = |ledger: &BTreeSet<String>| named.is_some_and(|name| !ledger.contains(name));
        if self.ledger.as_ref().is_some_and(is_other) {
            return Err(ClaimsLogError::OtherClickHouse {
                stream: self.name.clone(),
            });
        }
        Ok(info)
    }

    /// Appends a record, and returns its sequence. A snapshot replaces all records before it;
    /// returns `None` if the log has a record that the snapshot does not cover.
    ///
    /// # Errors
    /// Fails when JetStream gives no answer, or an error. The record may be stored all the same.
    pub async fn append(&self, record: &Record) -> Result<Option<u64>, ClaimsLogError> {
        let body = claims::encode(record).map_err(|source| ClaimsLogError::Record {
            stream: self.name.clone(),
            seq: 0,
            source,
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.name.as_str());
        if let RecordBody::Snapshot(snapshot) = &record.body {
            headers.insert(ROLLUP, "all");
            let covers = snapshot.covers.seq.to_string();
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, covers.as_str());
        }
        let sent = self
            .context
            .publish_with_headers(self.name.clone(), headers, Bytes::from(body));
        let answer = match sent.await {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(ack) => Ok(Some(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(self.api("append a record", error)),
        }
    }

    /// Returns the record at a sequence; `None` if there is none.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the message is no record.
    pub async fn record(&self, seq: u64) -> Result<Option<Record>, ClaimsLogError> {
        let stream = self.context.get_stream_no_info(&self.name).await;
        let stream = stream.map_err(|error| self.api("look up the stream", error))?;
        match stream.get_raw_message(seq).await {
            Ok(message) => self.decode(seq, &message.payload).map(Some),
            Err(error)
                if error.kind()
                    == async_nats::jetstream::stream::RawMessageErrorKind::NoMessageFound =>
            {
                Ok(None)
            }
            Err(error) => Err(self.api("read a record", error)),
        }
    }

    /// Reports whether the log begins with a snapshot, as it does from its first record on.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the first message is no record.
    pub async fn is_begun(&self, info: &Info) -> Result<bool, ClaimsLogError> {
        if info.state.last_sequence == 0 {
            return Ok(false);
        }
        self.is_snapshot(info.state.first_sequence).await
    }

    /// Reports whether a record is a snapshot, at which a log can begin.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the message is no record.
    pub(crate) async fn is_snapshot(&self, seq: u64) -> Result<bool, ClaimsLogError> {
        let record = self.record(seq).await?;
        Ok(record.is_some_and(|record| matches!(record.body, RecordBody::Snapshot(_))))
    }

    /// Reads the log to its end, and appends nothing; `None` if it has no first snapshot.
    ///
    /// # Errors
    /// Fails when JetStream fails, or the log lost records.
    pub async fn read(&self) -> Result<Option<Log>, ClaimsLogError> {
        let Some(info) = self.find().await? else {
            return Ok(None);
        };
        if !self.is_begun(&info).await? {
            return Ok(None);
        }
        let mut messages = self.messages(info.state.first_sequence).await?;
        let mut log = Log::new();
        while log.tip().seq < info.state.last_sequence {
            let (seq, record) = self.next(&mut messages).await?;
            let mut read = log.read(seq, &record);
            if read == Err(LogReadError::Renewed { seq }) {
                // Records from before it are back, and do not count.
                log = Log::new();
                read = log.read(seq, &record);
            }
            read.map_err(|source| ClaimsLogError::Lost {
                stream: self.name.clone(),
                source,
            })?;
        }
        Ok(Some(log))
    }

    /// Returns the next record, which is known to exist.
    pub(crate) async fn next(
        &self,
        messages: &mut push::Ordered,
    ) -> Result<(u64, Record), ClaimsLogError> {
        let message = match timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => message.map_err(|error| self.api("read the records", error))?,
            _ => return Err(self.api("read the records", "no record came")),
        };
        let info = message.info();
        let seq = info
            .map_err(|error| self.api("read a record", error))?
            .stream_sequence;
        Ok((seq, self.decode(seq, &message.payload)?))
    }

    /// Decodes a record from a message's body.
    ///
    /// # Errors
    /// Fails when the body is no record.
    pub fn decode(&self, seq: u64, body: &[u8]) -> Result<Record, ClaimsLogError> {
        claims::decode(body).map_err(|source| ClaimsLogError::Record {
            stream: self.name.clone(),
            seq,
            source,
        })
    }

    /// Streams the messages from a sequence on, in order, without an end.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub(crate) async fn messages(&self, from: u64) -> Result<push::Ordered, ClaimsLogError> {
        let stream = self.context.get_stream_no_info(&self.name).await;
        let stream = stream.map_err(|error| self.api("look up the stream", error))?;
        let config = push::OrderedConfig {
            deliver_subject: self.client().new_inbox(),
            description: Some("risksignal reads claims".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: from.max(1),
            },
            ..push::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| self.api("read the records", error))?;
        let messages = consumer.messages().await;
        messages.map_err(|error| self.api("read the records", error))
    }

    pub(crate) fn api(
        &self,
        action: &'static str,
        answer: impl Into<async_nats::Error>,
    ) -> ClaimsLogError {
        let answer = answer.into();
        debug!(action, log = self.name, words = %answer, "JetStream's own words");
        ClaimsLogError::Api {
            action,
            stream: self.name.clone(),
            answer,
        }
    }
}

/// Returns the name of the stream of claims on `stream` for one table. The first `_` after
/// `_CLAIMS_` ends the database, so that no two tables share a log.
pub fn stream_name(stream: &str, database: &str, table: &str) -> String {
    let database = database.replace('_', "-");
    format!("{stream}_CLAIMS_{database}_{table}")
}

fn is_name_in_use(kind: &CreateStreamErrorKind) -> bool {
    match kind {
        CreateStreamErrorKind::JetStream(source) => {
            source.error_code() == ErrorCode::STREAM_NAME_EXIST
        }
        _ => false,
    }
}

/// Returns 128 random bits.
pub(crate) fn nonce() -> Nonce {
    Nonce(rand::random())
}
