//! Error codes of JetStream. Its texts are the server's own, so public logs, readiness and pages
//! use the code's name and the advice from here.

use std::error::Error;
use std::fmt;

use async_nats::RequestErrorKind;
use async_nats::jetstream::context::{
    self, AccountError, AccountErrorKind, ConsumerInfoError, ConsumerInfoErrorKind,
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, LastRawMessageError, LastRawMessageErrorKind,
};
use async_nats::jetstream::{self, ErrorCode};

const ROOM: &str = "make room in the NATS account and on its disk";
const ENABLE: &str = "enable JetStream on the server and for the account";
const CLUSTER: &str = "check the servers of the NATS cluster";
const RECREATED: &str = "the daemon creates it again, if nats.user may";

/// Error codes that a daemon may meet: each with its name, and advice if known.
#[rustfmt::skip]
const CODES: [(ErrorCode, &str, &str); 27] = [
    (ErrorCode::ACCOUNT_RESOURCES_EXCEEDED, "ACCOUNT_RESOURCES_EXCEEDED", ROOM),
    (ErrorCode::INSUFFICIENT_RESOURCES, "INSUFFICIENT_RESOURCES", ROOM),
    (ErrorCode::MEMORY_RESOURCES_EXCEEDED, "MEMORY_RESOURCES_EXCEEDED", ROOM),
    (ErrorCode::STORAGE_RESOURCES_EXCEEDED, "STORAGE_RESOURCES_EXCEEDED", ROOM),
    (ErrorCode::STREAM_STORE_FAILED, "STREAM_STORE_FAILED", "the stream is at one of its bounds, or its disk is full: make room"),
    (ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, "STREAM_MESSAGE_EXCEEDS_MAXIMUM", "raise the stream's max_msg_size"),
    (ErrorCode::STREAM_NOT_FOUND, "STREAM_NOT_FOUND", RECREATED),
    (ErrorCode::CONSUMER_NOT_FOUND, "CONSUMER_NOT_FOUND", RECREATED),
    (ErrorCode::STREAM_NAME_EXIST, "STREAM_NAME_EXIST", "a stream of this name has another configuration"),
    (ErrorCode::STREAM_SUBJECT_OVERLAP, "STREAM_SUBJECT_OVERLAP", "another stream has these subjects: see nats stream ls"),
    (ErrorCode::STREAM_INVALID_CONFIG, "STREAM_INVALID_CONFIG", "check the section stream of the settings"),
    (ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED, "STREAM_REPLICAS_NOT_SUPPORTED", "stream.replicas needs a cluster"),
    (ErrorCode::STREAM_MAX_BYTES_REQUIRED, "STREAM_MAX_BYTES_REQUIRED", "set stream.max_bytes, which the account demands"),
    (ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED, "STREAM_MAX_STREAM_BYTES_EXCEEDED", "lower stream.max_bytes, which the account bounds"),
    (ErrorCode::STREAM_SEALED, "STREAM_SEALED", "a sealed stream accepts no messages: use another one"),
    (ErrorCode::STREAM_PURGE_FAILED, "STREAM_PURGE_FAILED", "does the stream have deny_purge?"),
    (ErrorCode::STREAM_ROLLUP_FAILED, "STREAM_ROLLUP_FAILED", "set the stream's allow_rollup_hdrs (nats stream edit)"),
    (ErrorCode::MAXIMUM_STREAMS_LIMIT, "MAXIMUM_STREAMS_LIMIT", "raise the account's max_streams"),
    (ErrorCode::MAXIMUM_CONSUMERS_LIMIT, "MAXIMUM_CONSUMERS_LIMIT", "raise the account's or the stream's max_consumers"),
    (ErrorCode::JETSTREAM_NOT_ENABLED, "JETSTREAM_NOT_ENABLED", ENABLE),
    (ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT, "JETSTREAM_NOT_ENABLED_FOR_ACCOUNT", ENABLE),
    (ErrorCode::CLUSTER_NOT_AVAILABLE, "CLUSTER_NOT_AVAILABLE", CLUSTER),
    (ErrorCode::CLUSTER_NO_PEERS, "CLUSTER_NO_PEERS", CLUSTER),
    (ErrorCode::STREAM_OFFLINE, "STREAM_OFFLINE", CLUSTER),
    (ErrorCode::CONSUMER_OFFLINE, "CONSUMER_OFFLINE", CLUSTER),
    (ErrorCode::NO_MESSAGE_FOUND, "NO_MESSAGE_FOUND", ""),
    (ErrorCode::STREAM_WRONG_LAST_SEQUENCE, "STREAM_WRONG_LAST_SEQUENCE", ""),
];

/// Displays an error of JetStream for the public: its code, the code's name and advice. If
/// JetStream gave no answer, the client library's words give the reason.
#[derive(Debug, Clone, Copy)]
pub struct PublicError<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for PublicError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match sources(self.0).find_map(answer) {
            Some(answer) => PublicAnswer(&answer).fmt(f),
            None if sources(self.0).any(is_nobody) => write!(f, "no server answers; {ENABLE}"),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Displays an answer of JetStream for the public.
#[derive(Debug, Clone, Copy)]
pub struct PublicAnswer<'a>(pub &'a jetstream::Error);

impl fmt::Display for PublicAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0.error_code();
        match CODES.iter().find(|(known, ..)| *known == code) {
            Some((_, name, "")) => write!(f, "error {} ({name})", code.0),
            Some((_, name, advice)) => write!(f, "error {} ({name}): {advice}", code.0),
            None => write!(
                f,
                "error {} (status {}); the log has the server's words at debug level",
                code.0,
                self.0.code()
            ),
        }
    }
}

/// Iterates over an error and its causes.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

/// Returns JetStream's answer within an error of the client library.
fn answer(error: &(dyn Error + 'static)) -> Option<jetstream::Error> {
    if let Some(answer) = error.downcast_ref::<jetstream::Error>() {
        return Some(answer.clone());
    }
    if let Some(error) = error.downcast_ref::<GetStreamError>()
        && let GetStreamErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    if let Some(error) = error.downcast_ref::<CreateStreamError>()
        && let CreateStreamErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    if let Some(error) = error.downcast_ref::<ConsumerInfoError>()
        && let ConsumerInfoErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    if let Some(error) = error.downcast_ref::<ConsumerError>()
        && let ConsumerErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    if let Some(error) = error.downcast_ref::<LastRawMessageError>()
        && let LastRawMessageErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    if let Some(error) = error.downcast_ref::<AccountError>()
        && let AccountErrorKind::JetStream(answer) = error.kind()
    {
        return Some(answer);
    }
    None
}

/// Reports whether no server listens on the request's subject.
fn is_nobody(error: &(dyn Error + 'static)) -> bool {
    let of_core = error.downcast_ref::<async_nats::RequestError>();
    let of_jetstream = error.downcast_ref::<context::RequestError>();
    of_core.is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
        || of_jetstream.is_some_and(|error| error.kind() == context::RequestErrorKind::NoResponders)
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::{PublishError, PublishErrorKind};

    use super::*;

    fn server_error(code: u64) -> jetstream::Error {
        let text = format!(r#"{{"code": 400, "err_code": {code}, "description": "xyzzy"}}"#);
        let parsed: Result<jetstream::Error, _> = serde_json::from_str(&text);
        parsed.unwrap()
    }

    #[test]
    fn an_answer_is_found_wherever_the_client_library_keeps_it() {
        let full = server_error(10077);
        let expected = "error 10077 (STREAM_STORE_FAILED): the stream is at one of its bounds, or its disk is full: make room";
        let errors: [async_nats::Error; 6] = [
            full.clone().into(),
            GetStreamError::new(GetStreamErrorKind::JetStream(full.clone())).into(),
            CreateStreamError::new(CreateStreamErrorKind::JetStream(full.clone())).into(),
            ConsumerInfoError::new(ConsumerInfoErrorKind::JetStream(full.clone())).into(),
            ConsumerError::new(ConsumerErrorKind::JetStream(full.clone())).into(),
            PublishError::with_source(PublishErrorKind::Other, full).into(),
        ];
        for error in errors {
            assert_eq!(PublicError(&*error).to_string(), expected);
        }
    }

    #[test]
    fn the_servers_words_are_in_no_text() {
        for code in [10002, 10059, 10071, 10999] {
            let said = PublicAnswer(&server_error(code)).to_string();
            assert!(said.starts_with(&format!("error {code}")), "{said}");
            assert!(!said.contains("xyzzy"), "{said}");
        }
        let mut codes: Vec<u64> = CODES.iter().map(|(code, ..)| code.0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
