//! Failures of ClickHouse, and advice.
//!
//! ClickHouse's error text may quote the values of signals. It goes only to the dead letter
//! concerned and to the debug log; everything else shows the code, its name and advice.

use clickhouse::error::Error;
use net::http::client::with_causes;
use net::tls::{self, ClientTls};
use tracing::debug;

use super::codes;
use super::codes::Remedy;
use crate::log_lines::OWN_WORDS;

/// Exception text for a block outside its fence. `migrations/0005_store_claims.sql` contains it
/// too.
pub(super) const FENCE_OVER: &str = "risksignal: the fence of this claim is over";

/// Longest part of ClickHouse's text in the debug log, in characters.
const LOGGED_CHARS_MAX: usize = 2048;

/// A failed ClickHouse operation. Displayed without ClickHouse's text.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} ClickHouse: {failure}{advice}")]
pub struct StoreError {
    doing: &'static str,
    pub(super) failure: FailureReason,
    advice: String,
}

/// HTTP status Content Too Large: a proxy rejects a request whose body exceeds its limit.
pub(super) const TOO_LARGE: u16 = 413;

/// Reason for a failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum FailureReason {
    /// Error of the `clickhouse` crate, or a failed connection.
    #[error("{}", public(.0))]
    Client(Error),
    /// Exception of ClickHouse in the answer to an insert.
    #[error("{}", named(.0.code))]
    Exception(Exception),
    /// Another program answered an insert; its text is of no use here.
    #[error(
        "{url} answered {status}{what}, which is not ClickHouse's own answer; does a proxy answer in its place or change the headers?"
    )]
    Foreign {
        /// URL in a form that may be printed.
        url: String,
        status: u16,
        what: &'static str,
    },
    /// An OK that does not cover all rows.
    #[error(
        "it answered 200 with {written} of {rows} rows written; does a profile or a proxy change the insert's settings (timeout_overflow_mode)?"
    )]
    Fewer {
        /// Rows counted by ClickHouse.
        written: u64,
        /// Rows sent.
        rows: u64,
    },
}

/// An exception of ClickHouse.
#[derive(Debug)]
pub(super) struct Exception {
    pub code: u32,
    pub text: String,
    /// True if it answers this very query, which has then ended.
    pub is_answer: bool,
}

impl Exception {
    /// Returns true if the table's default for `ingested_at` threw it, rather than an exception
    /// that quotes the text. The text of a `throwIf` is a constant at the start.
    pub(super) fn is_late(&self) -> bool {
        let message = self.text.split_once("DB::Exception: ");
        let rest = message.and_then(|(_, message)| message.strip_prefix(FENCE_OVER));
        self.code == THROW_IF
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.']))
    }
}

impl From<Error> for FailureReason {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// Formats a code of ClickHouse, with its name if known.
fn named(code: u32) -> String {
    match codes::find(code) {
        Some(known) => format!("Code: {code} ({})", known.name),
        None => format!("Code: {code}"),
    }
}

/// Returns the crate's error text without that of ClickHouse or of another answering program.
fn public(error: &Error) -> String {
    match error {
        Error::BadResponse(text) => match exception_code(text) {
            Some(code) => named(code),
            None => format!(
                "a bad response of {} bytes, which is not ClickHouse's own; does a proxy answer in its place?",
                text.len()
            ),
        },
        _ => with_causes(error),
    }
}

impl FailureReason {
    fn code(&self) -> Option<u32> {
        match self {
            Self::Client(Error::BadResponse(text)) => exception_code(text),
            Self::Exception(exception) => Some(exception.code),
            _ => None,
        }
    }

    /// Returns the text of ClickHouse or of another answering program.
    fn words(&self) -> Option<&str> {
        match self {
            Self::Client(Error::BadResponse(text)) => Some(text),
            Self::Exception(exception) => Some(&exception.text),
            _ => None,
        }
    }

    /// Returns advice, if any. `tls` is set with https.
    fn advice(&self, tls: Option<&ClientTls>) -> String {
        match (self.code(), self, tls) {
            (Some(code), ..) => match codes::find(code).map(|code| code.advice) {
                Some(advice) if !advice.is_empty() => format!("; {advice}"),
                _ => "; the log has ClickHouse's words at debug level (log.filter)".to_owned(),
            },
            (_, Self::Client(error), Some(side)) => tls_advice(error, side),
            _ => String::new(),
        }
    }
}

fn tls_advice(error: &Error, side: &ClientTls) -> String {
    let advice = side.advice(error);
    if !advice.is_empty() {
        return advice;
    }
    let is_unstarted = tls::is_unstarted(error);
    if let (true, Some(advice)) = (is_unstarted, side.after_handshake()) {
        return advice;
    }
    if is_unstarted || tls::is_closed(error) {
        return format!("; is the server running, and {}", side.advice_on_close());
    }
    String::new()
}

impl StoreError {
    pub(super) fn new(
        doing: &'static str,
        failure: impl Into<FailureReason>,
        tls: Option<&ClientTls>,
    ) -> Self {
        let failure = failure.into();
        if let Some(words) = failure.words() {
            let words: String = words.chars().take(LOGGED_CHARS_MAX).collect();
            debug!(code = failure.code(), words, "{OWN_WORDS}");
        }
        Self {
            doing,
            advice: failure.advice(tls),
            failure,
        }
    }

    pub(super) fn unexpected(what: &str) -> Self {
        Self::new("understand", Error::Custom(what.to_owned()), None)
    }

    /// Returns the failure with ClickHouse's text, which may quote values, for a dead letter.
    pub fn with_words(&self) -> String {
        match self.failure.words() {
            Some(words) => format!("cannot {} ClickHouse: {words}", self.doing),
            None => self.to_string(),
        }
    }

    /// Returns the advice, which is also part of the displayed text.
    pub fn advice(&self) -> Option<&str> {
        self.advice.strip_prefix("; ")
    }

    /// Returns ClickHouse's error code, if it sent one:
    /// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
    pub fn code(&self) -> Option<u32> {
        self.failure.code()
    }

    /// Returns a short label of the failure: ClickHouse's code, or the kind of answer.
    pub fn kind(&self) -> String {
        let without = match &self.failure {
            FailureReason::Client(Error::TimedOut) => "timeout",
            FailureReason::Client(Error::Network(_)) => "network",
            FailureReason::Foreign { .. } => "not_clickhouse",
            FailureReason::Fewer { .. } => "fewer_rows",
            // OpenTelemetry's value for an unclassified error.
            _ => "_OTHER",
        };
        self.code()
            .map_or(without.to_owned(), |code| code.to_string())
    }

    /// Returns true if the insert has ended and commits nothing later: ClickHouse itself answered
    /// with an exception, or a proxy rejected a body of this size. An answer that the query runs
    /// already is about a copy that a proxy sent: the first one may still commit.
    pub fn is_over(&self) -> bool {
        match &self.failure {
            FailureReason::Exception(exception) => {
                exception.is_answer && exception.code != codes::RUNS_ALREADY
            }
            FailureReason::Foreign { status, .. } => *status == TOO_LARGE,
            FailureReason::Client(_) | FailureReason::Fewer { .. } => false,
        }
    }

    /// Returns true if it ended at a timeout, without an answer.
    pub fn is_timeout(&self) -> bool {
        matches!(self.failure, FailureReason::Client(Error::TimedOut))
    }

    /// Returns the materialized view in which an insert failed, if ClickHouse names one.
    pub fn view(&self) -> Option<&str> {
        let FailureReason::Exception(exception) = &self.failure else {
            return None;
        };
        // After all text that may quote values.
        let (_, name) = exception.text.rsplit_once("while pushing to view ")?;
        let end = name.find(". (").or_else(|| name.find([':', ' ']));
        let name = &name[..end.unwrap_or(name.len())];
        // Cut text may end in a value.
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.`-".contains(c);
        (name.len() <= VIEW_BYTES_MAX && name.chars().all(is_name)).then_some(name)
    }

    /// Returns true if another version of ClickHouse may answer the next request.
    pub(super) fn may_be_another_server(&self) -> bool {
        matches!(self.failure, FailureReason::Client(_)) || self.code() == Some(UNKNOWN_SETTING)
    }

    /// Reports whether the table, its columns or the database are at fault, rather than the server
    /// or the user.
    pub fn concerns_schema(&self) -> bool {
        matches!(
            self.failure,
            FailureReason::Client(Error::SchemaMismatch(_))
        ) || self.remedy() == Remedy::Bisect
            || self.code().is_some_and(codes::concerns_schema)
    }
}

#[cfg(feature = "testing")]
impl StoreError {
    /// Returns ClickHouse's exception as the answer to an insert, for tests.
    pub fn exception_for_tests(code: u32, message: &str) -> Self {
        let exception = Exception {
            code,
            text: format!("Code: {code}. DB::Exception: {message}"),
            is_answer: true,
        };
        Self::new("test", FailureReason::Exception(exception), None)
    }

    /// Returns a time-out without an answer, for tests.
    pub fn timeout_for_tests() -> Self {
        Self::new("test", Error::TimedOut, None)
    }
}

/// Bytes of a database name and a table name, each of the length limit of a file name.
const VIEW_BYTES_MAX: usize = 512;
/// Code of UNKNOWN_SETTING.
const UNKNOWN_SETTING: u32 = 115;
/// Code of FUNCTION_THROW_IF_VALUE_IS_NON_ZERO.
const THROW_IF: u32 = 395;

/// Parses the number after `Code: ` at the start of an exception's text.
pub(super) fn exception_code(text: &str) -> Option<u32> {
    let digits = text.trim_start().strip_prefix("Code: ")?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Builds an exception of ClickHouse.
    pub fn exception(code: u32, message: &str, is_answer: bool) -> StoreError {
        let exception = Exception {
            code,
            text: format!("Code: {code}. DB::Exception: {message}"),
            is_answer,
        };
        StoreError::new("test", FailureReason::Exception(exception), None)
    }

    #[test]
    fn the_code_is_read_as_a_number() {
        for (text, code) in [
            ("Code: 60. DB::Exception: Table x does not exist", Some(60)),
            ("Code: 530. DB::Exception", Some(530)),
            ("Code: 53", Some(53)),
            ("502 Bad Gateway", None),
            ("Code: x", None),
        ] {
            assert_eq!(exception_code(text), code, "{text}");
        }
    }

    /// A proxy sent the insert twice: the refusal of the second is no end of the first.
    #[test]
    fn only_the_querys_own_exception_ends_an_insert() {
        assert!(exception(469, "x", true).is_over());
        assert!(!exception(469, "x", false).is_over());
        assert!(!exception(codes::RUNS_ALREADY, "x", true).is_over());
    }

    #[test]
    fn a_view_is_named() {
        let text = "no seven: while executing 'FUNCTION throwIf(x) : 1': while pushing to view risksignal.picky. (FUNCTION_THROW) (version 26.7.2.1)";
        assert_eq!(exception(395, text, true).view(), Some("risksignal.picky"));
        assert_eq!(exception(395, "no seven", true).view(), None);
    }

    #[test]
    fn words_are_for_the_dead_letter_alone() {
        let long = format!("'tellme' {}", "x".repeat(64 * 1024));
        for (error, named) in [
            (
                exception(469, &long, true),
                "Code: 469 (VIOLATED_CONSTRAINT); ",
            ),
            (exception(77777, &long, true), "Code: 77777; "),
            (
                StoreError::new(
                    "test",
                    Error::BadResponse(format!("Code: 516. DB::Exception: {long}")),
                    None,
                ),
                "Code: 516 (AUTHENTICATION_FAILED); check clickhouse.user",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(named), "{text}");
            assert!(!text.contains("tellme") && text.len() < 300, "{text}");
            assert!(!with_causes(&error).contains("tellme"));
            assert!(error.with_words().contains("tellme"));
        }
    }

    #[test]
    fn a_page_of_a_proxy_is_not_quoted() {
        let page = Error::BadResponse("<html>502</html>".to_owned());
        let text = StoreError::new("test", page, None).to_string();
        assert!(
            text.contains("16 bytes") && !text.contains("html"),
            "{text}"
        );
    }
}
