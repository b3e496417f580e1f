//! The streams: created if absent, checked if present. An existing stream belongs to the operator,
//! and the daemon never changes it.

use std::collections::HashMap;

use async_nats::Client;
use async_nats::jetstream::{
    Context, ErrorCode,
    context::GetStreamErrorKind,
    stream::{self, Config, DiscardPolicy, StorageType},
};

use claims_log::PublicError;
use tracing::debug;

use crate::{Plan, Storage};

/// Reason for which the streams or the consumer do not fit the daemon.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The JetStream API gave no answer, or an error. Displayed without the server's words.
    #[error("JetStream cannot {action}: {}", PublicError(&**.answer))]
    Api {
        /// Requested action.
        action: String,
        /// Answer of the server; not a source, so that no chain of causes has the server's words.
        answer: async_nats::Error,
    },
    /// A stream exists that lacks the subjects.
    #[error(
        "stream {stream} exists but takes the subjects {found:?} and not {wanted}; add the subject to the stream, or set another stream name or subject_prefix"
    )]
    StreamSubjects {
        /// Name of the stream.
        stream: String,
        /// Subjects of the stream.
        found: Vec<String>,
        /// Required subject.
        wanted: String,
    },
    /// A pull could not hold the largest possible message.
    #[error(
        "consumer.fetch_bytes is {fetch_bytes}, but a message may have {needed} bytes (the server's max_payload and its subjects); raise consumer.fetch_bytes"
    )]
    FetchTooSmall {
        /// Value of the setting in bytes.
        fetch_bytes: usize,
        /// Required value in bytes.
        needed: usize,
    },
    /// A consumer exists whose delivery state would have to change.
    #[error(
        "consumer {consumer} of stream {stream} exists with {key} {found}, the daemon needs {wanted}; delete the consumer, so that the daemon recreates it, or set another consumer.name: both deliver messages again, and none is stored twice"
    )]
    ConsumerConflict {
        /// Name of the stream.
        stream: String,
        /// Name of the consumer.
        consumer: String,
        /// Setting of the consumer that differs.
        key: &'static str,
        /// Actual value.
        found: String,
        /// Required value.
        wanted: String,
    },
}

impl TopologyError {
    pub(super) fn api(action: impl Into<String>, answer: impl Into<async_nats::Error>) -> Self {
        let (action, answer) = (action.into(), answer.into());
        debug!(action, words = %answer, "JetStream's own words");
        Self::Api { action, answer }
    }
}

/// Metadata key of a stream whose committed history the daemon may purge by default. Only a stream
/// created by this release or a later one has it.
pub const PURGES: &str = "risksignal.purges";

/// Finds or creates the stream of signals.
///
/// # Errors
/// Fails when the JetStream API fails, or the stream exists without `<subject_prefix>.>`.
pub async fn ensure_stream(
    context: &Context,
    stream: &crate::StreamOptions,
) -> Result<stream::Info, TopologyError> {
    let config = Config {
        name: stream.name.clone(),
        subjects: vec![format!("{}.>", stream.subject_prefix)],
        storage: storage(stream.storage),
        num_replicas: stream.replicas,
        max_age: stream.max_age,
        max_bytes: unlimited_when_zero(stream.max_bytes),
        duplicate_window: stream.duplicate_window,
        // A full stream must reject new signals, never drop stored ones that are not yet in
        // ClickHouse.
        discard: DiscardPolicy::New,
        metadata: HashMap::from([(
            PURGES.to_owned(),
            "committed history beyond stream.keep".to_owned(),
        )]),
        ..Config::default()
    };
    ensure(context, config).await
}

/// Finds or creates the stream of dead letters.
///
/// # Errors
/// Fails as [`ensure_stream`] does.
pub async fn ensure_dead_letter_stream(
    context: &Context,
    plan: Plan<'_>,
) -> Result<stream::Info, TopologyError> {
    let letters = &plan.dead_letters;
    let config = Config {
        name: letters.name.clone(),
        subjects: vec![format!(
            "{}.{}.>",
            letters.subject_prefix, plan.stream.subject_prefix
        )],
        storage: storage(plan.stream.storage),
        num_replicas: plan.stream.replicas,
        max_age: letters.max_age,
        duplicate_window: letters.duplicate_window,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    ensure(context, config).await
}

/// Finds or creates a stream.
pub(super) async fn ensure(
    context: &Context,
    config: Config,
) -> Result<stream::Info, TopologyError> {
    let wanted = config.subjects.concat();
    let info = match find_stream(context, &config.name).await? {
        Some(info) => info,
        None => {
            let action = format!("create stream {}", config.name);
            context
                .create_stream(config)
                .await
                .map_err(|error| TopologyError::api(action, error))?
                .cached_info()
                .clone()
        }
    };
    check_subjects(&info, &wanted)?;
    Ok(info)
}

/// Returns both streams by name, each with its required subject.
pub fn wanted_streams(plan: Plan<'_>) -> [(String, String); 2] {
    let signals = format!("{}.>", plan.stream.subject_prefix);
    let letters = format!("{}.{signals}", plan.dead_letters.subject_prefix);
    [
        (plan.stream.name.clone(), signals),
        (plan.dead_letters.name.clone(), letters),
    ]
}

/// Checks that a stream has every subject that matches `wanted`.
///
/// # Errors
/// Returns [`TopologyError::StreamSubjects`].
pub fn check_subjects(info: &stream::Info, wanted: &str) -> Result<(), TopologyError> {
    let subjects = &info.config.subjects;
    if subjects
        .iter()
        .any(|subject| subject_covers(subject, wanted))
    {
        return Ok(());
    }
    Err(TopologyError::StreamSubjects {
        stream: info.config.name.clone(),
        found: subjects.clone(),
        wanted: wanted.to_owned(),
    })
}

/// Checks that one pull has room for the largest message that the server accepts; a larger one
/// would never be delivered.
///
/// # Errors
/// Returns [`TopologyError::FetchTooSmall`].
pub fn check_fetch(
    client: &Client,
    consumer: &crate::ConsumerOptions,
) -> Result<(), TopologyError> {
    let needed = client.max_payload() + MESSAGE_OVERHEAD_BYTES;
    if consumer.fetch_bytes >= needed {
        return Ok(());
    }
    Err(TopologyError::FetchTooSmall {
        fetch_bytes: consumer.fetch_bytes,
        needed,
    })
}

/// Bytes that JetStream counts for a message besides headers and body: its subjects, each at most a
/// protocol line, which nats-server limits to 4 KiB (`max_control_line`).
const MESSAGE_OVERHEAD_BYTES: usize = 8 * 1024;

/// Returns the stream's configuration and state, or `None` if there is no such stream.
///
/// # Errors
/// Fails when the JetStream API fails.
pub async fn find_stream(
    context: &Context,
    name: &str,
) -> Result<Option<stream::Info>, TopologyError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(source)
                if source.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(TopologyError::api(format!("look up stream {name}"), error)),
        },
    }
}

/// Reports whether every subject that matches `wanted` also matches `pattern`; both may end in `>`.
pub fn subject_covers(pattern: &str, wanted: &str) -> bool {
    let mut wanted_tokens = wanted.split('.');
    for token in pattern.split('.') {
        match (token, wanted_tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    wanted_tokens.next().is_none()
}

/// Converts the storage of a stream to the client library's type.
pub fn storage(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

fn unlimited_when_zero(bytes: u64) -> i64 {
    match bytes {
        0 => -1,
        bytes => i64::try_from(bytes).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_covered_token_by_token() {
        for (pattern, wanted, covers) in [
            ("signals.>", "signals.>", true),
            (">", "signals.>", true),
            ("signals.*", "signals.>", false),
            ("signals.transaction", "signals.>", false),
            ("*.>", "signals.>", true),
            ("dlq.>", "dlq.signals.>", true),
            ("dlq.*.>", "dlq.signals.>", true),
            ("signal.>", "signals.>", false),
            ("signals", "signals.>", false),
        ] {
            assert_eq!(
                subject_covers(pattern, wanted),
                covers,
                "{pattern} {wanted}"
            );
        }
    }
}
