//! The stream of a claims log: created, verified, appended to and read.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use claims::{Body, Log, Nonce, Record};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::error::ClaimsLogError;

/// Has one publish append a message and purge all before it.
const ROLLUP: &str = "Nats-Rollup";

/// The longest time that the next record of the log may take.
const SILENCE: Duration = Duration::from_secs(5);

/// Where the stream keeps its records: as the stream of signals does.
pub type Storage = StorageType;

/// The stream of a claims log.
#[derive(Debug, Clone)]
pub struct LogStream {
    context: Context,
    name: String,
}

impl LogStream {
    /// The log of claims on `stream` for one table, whose identifiers are joined by `_`. The
    /// subject is the stream's name.
    pub fn new(context: Context, stream: &str, database: &str, table: &str) -> Self {
        Self {
            context,
            name: stream_name(stream, database, table),
        }
    }

    /// The log of this name.
    pub fn named(context: Context, name: String) -> Self {
        Self { context, name }
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The connection to NATS.
    pub fn client(&self) -> async_nats::Client {
        self.context.client()
    }

    /// Creates the stream when it is absent, and verifies it when it is present.
    ///
    /// # Errors
    /// When JetStream fails, or the stream would lose records.
    pub async fn ensure(&self, storage: Storage, replicas: usize) -> Result<Info, ClaimsLogError> {
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

    /// The stream's configuration and state; `None` when there is none.
    ///
    /// # Errors
    /// When JetStream fails.
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

    /// The stream's state, where its configuration is that of a claims log; `None` when there is
    /// none. Changes nothing.
    ///
    /// # Errors
    /// When JetStream fails, or the stream would lose records.
    pub async fn check(&self) -> Result<Option<Info>, ClaimsLogError> {
        match self.find().await? {
            Some(info) => self.verify(info).map(Some),
            None => Ok(None),
        }
    }

    /// Refuses a stream that drops, expires or loses records, or cannot take a snapshot.
    fn verify(&self, info: Info) -> Result<Info, ClaimsLogError> {
        let config = &info.config;
        let limit = |limit: i64| (limit > 0).then(|| limit.to_string());
        let age = (!config.max_age.is_zero()).then(|| format!("{:?}", config.max_age));
        let faults = [
            ("max_age", age, "0 (none)"),
            ("max_msgs", limit(config.max_messages), "-1 (none)"),
            ("max_bytes", limit(config.max_bytes), "-1 (none)"),
            (
                "max_msg_size",
                limit(config.max_message_size.into()),
                "-1 (none)",
            ),
            (
                "max_msgs_per_subject",
                limit(config.max_messages_per_subject),
                "-1 (none)",
            ),
            (
                "discard",
                (config.discard != DiscardPolicy::New).then(|| format!("{:?}", config.discard)),
                "new",
            ),
            (
                "retention",
                (config.retention != RetentionPolicy::Limits)
                    .then(|| format!("{:?}", config.retention)),
                "limits",
            ),
            (
                "deny_delete",
                (!config.deny_delete).then(|| "false".to_owned()),
                "true",
            ),
            (
                "deny_purge",
                config.deny_purge.then(|| "true".to_owned()),
                "false",
            ),
            (
                "allow_rollup_hdrs",
                (!config.allow_rollup).then(|| "false".to_owned()),
                "true",
            ),
            (
                "subjects",
                (config.subjects != [self.name.as_str()]).then(|| config.subjects.join(" ")),
                "its own name",
            ),
        ];
        for (key, found, wanted) in faults {
            if let Some(found) = found {
                return Err(ClaimsLogError::Config {
                    stream: self.name.clone(),
                    key,
                    found,
                    wanted,
                });
            }
        }
        Ok(info)
    }

    /// Appends a record, and returns its place. A snapshot takes the place of all records
    /// before it; `None` when the log has a record that it does not cover.
    ///
    /// # Errors
    /// When JetStream gives no answer, or an error. The record may be stored all the same.
    pub async fn append(&self, record: &Record) -> Result<Option<u64>, ClaimsLogError> {
        let body = claims::encode(record).map_err(|source| ClaimsLogError::Record {
            stream: self.name.clone(),
            seq: 0,
            source,
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.name.as_str());
        if let Body::Snapshot(snapshot) = &record.body {
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

    /// The record at a place; `None` when there is none (any more).
    ///
    /// # Errors
    /// When JetStream fails, or the message is no record.
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
    /// When JetStream fails, or the first message is no record.
    pub async fn is_begun(&self, info: &Info) -> Result<bool, ClaimsLogError> {
        if info.state.last_sequence == 0 {
            return Ok(false);
        }
        let first = self.record(info.state.first_sequence).await?;
        Ok(first.is_some_and(|record| matches!(record.body, Body::Snapshot(_))))
    }

    /// Reads the log to its end, and appends nothing; `None` where it has no first snapshot.
    ///
    /// # Errors
    /// When JetStream fails, or the log lost records.
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
            log.read(seq, &record)
                .map_err(|source| ClaimsLogError::Lost {
                    stream: self.name.clone(),
                    source,
                })?;
        }
        Ok(Some(log))
    }

    /// The next record, which is known to be there.
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

    /// Reads a record from a message's body.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(&self, seq: u64, body: &[u8]) -> Result<Record, ClaimsLogError> {
        claims::decode(body).map_err(|source| ClaimsLogError::Record {
            stream: self.name.clone(),
            seq,
            source,
        })
    }

    /// The messages from a place on, in order and as they come.
    ///
    /// # Errors
    /// When JetStream fails.
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
        source: impl Into<async_nats::Error>,
    ) -> ClaimsLogError {
        ClaimsLogError::Api {
            action,
            stream: self.name.clone(),
            source: source.into(),
        }
    }
}

/// Name of the stream that is the log of claims on `stream` for one table. The first `_` behind
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

/// 128 random bits.
pub(crate) fn nonce() -> Nonce {
    Nonce(rand::random())
}
