//! The streams: created when absent, checked when present. What exists belongs to the operator,
//! and is never changed.

use std::collections::HashMap;

use async_nats::Client;
use async_nats::jetstream::{
    Context, ErrorCode,
    context::GetStreamErrorKind,
    stream::{self, Config, DiscardPolicy, StorageType},
};

use crate::settings::{self, Settings, Storage};

/// Why the streams or the consumer are not as the daemon needs them.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The JetStream API gave no answer, or an error.
    #[error("JetStream cannot {action}: {source}")]
    Api {
        /// What was asked of the server.
        action: String,
        /// What it answered.
        source: async_nats::Error,
    },
    /// A stream exists that does not take the subjects.
    #[error(
        "stream {stream} exists but takes the subjects {found:?} and not {wanted}; add the subject to the stream, or set another stream name or subject_prefix"
    )]
    StreamSubjects {
        /// The stream.
        stream: String,
        /// Its subjects.
        found: Vec<String>,
        /// The subject it needs.
        wanted: String,
    },
    /// A pull could not take the largest message there may be.
    #[error(
        "consumer.fetch_bytes is {fetch_bytes}, but a message may have {needed} bytes (the server's max_payload and its subjects); raise consumer.fetch_bytes"
    )]
    FetchTooSmall {
        /// The setting in bytes.
        fetch_bytes: usize,
        /// What it must at least be in bytes.
        needed: usize,
    },
    /// A consumer exists whose delivery state would have to change.
    #[error(
        "consumer {consumer} of stream {stream} exists with {key} {found}, the daemon needs {wanted}; delete the consumer, so that the daemon recreates it, or set another consumer.name: both deliver messages again, and none is stored twice"
    )]
    ConsumerConflict {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The consumer's setting that differs.
        key: &'static str,
        /// Its value.
        found: String,
        /// The value it must have.
        wanted: String,
    },
}

impl TopologyError {
    pub(super) fn api(action: impl Into<String>, source: impl Into<async_nats::Error>) -> Self {
        Self::Api {
            action: action.into(),
            source: source.into(),
        }
    }
}

/// Key of the metadata of a stream whose committed history the daemon may purge by default. Only a
/// stream that this release or a later one created has it.
pub const PURGES: &str = "risksignal.purges";

/// Gets the stream of signals, creating it when absent.
///
/// # Errors
/// When the JetStream API fails, or the stream exists without `<subject_prefix>.>`.
pub async fn ensure_stream(
    context: &Context,
    stream: &settings::Stream,
) -> Result<stream::Info, TopologyError> {
    let config = Config {
        name: stream.name.clone(),
        subjects: vec![format!("{}.>", stream.subject_prefix)],
        storage: storage(stream.storage),
        num_replicas: stream.replicas,
        max_age: stream.max_age,
        max_bytes: unlimited_when_zero(stream.max_bytes),
        duplicate_window: stream.duplicate_window,
        // A full stream must refuse new signals, never drop stored ones that are not yet in
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

/// Gets the stream of dead letters, creating it when absent.
///
/// # Errors
/// As [`ensure_stream`].
pub async fn ensure_dead_letter_stream(
    context: &Context,
    settings: &Settings,
) -> Result<stream::Info, TopologyError> {
    let letters = &settings.dead_letters;
    let config = Config {
        name: letters.name.clone(),
        subjects: vec![format!(
            "{}.{}.>",
            letters.subject_prefix, settings.stream.subject_prefix
        )],
        storage: storage(settings.stream.storage),
        num_replicas: settings.stream.replicas,
        max_age: letters.max_age,
        duplicate_window: letters.duplicate_window,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    ensure(context, config).await
}

/// Gets a stream, creating it when absent.
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

/// Both streams by name, each with the subject that it must take.
pub fn wanted_streams(settings: &Settings) -> [(String, String); 2] {
    let signals = format!("{}.>", settings.stream.subject_prefix);
    let letters = format!("{}.{signals}", settings.dead_letters.subject_prefix);
    [
        (settings.stream.name.clone(), signals),
        (settings.dead_letters.name.clone(), letters),
    ]
}

/// Checks that a stream takes every subject that matches `wanted`.
///
/// # Errors
/// [`TopologyError::StreamSubjects`].
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

/// Checks that one pull has room for the largest message that the server takes; a larger one
/// would never be delivered.
///
/// # Errors
/// [`TopologyError::FetchTooSmall`].
pub fn check_fetch(client: &Client, consumer: &settings::Consumer) -> Result<(), TopologyError> {
    let needed = client.max_payload() + MESSAGE_OVERHEAD_BYTES;
    if consumer.fetch_bytes >= needed {
        return Ok(());
    }
    Err(TopologyError::FetchTooSmall {
        fetch_bytes: consumer.fetch_bytes,
        needed,
    })
}

/// What JetStream counts for a message besides headers and body: its subjects, each at most a
/// line of the protocol, which nats-server limits to 4 KiB (`max_control_line`).
const MESSAGE_OVERHEAD_BYTES: usize = 8 * 1024;

/// The stream's configuration and state, or `None` when there is no such stream.
///
/// # Errors
/// When the JetStream API fails.
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

/// Whether every subject that matches `wanted` matches `pattern` too; both may end in `>`.
pub(crate) fn subject_covers(pattern: &str, wanted: &str) -> bool {
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

pub(crate) fn storage(storage: Storage) -> StorageType {
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
