//! What went wrong in ClickHouse, and what helps.
//!
//! ClickHouse's words may quote the values of signals. They go to the dead letter that they are
//! about, and to the log at debug level; everything else says the code, its name and what to do.

use clickhouse::error::Error;
use tracing::debug;

use super::codes;
use super::insert::FENCE_OVER;
use super::remedy::Remedy;
use crate::http::client::with_causes;
use crate::tls::{self, Side};

/// Characters of ClickHouse's words that the log has at debug level.
const LOGGED_CHARS_MAX: usize = 2048;

/// A ClickHouse operation that failed. Displayed without ClickHouse's words.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} ClickHouse: {failure}{advice}")]
pub struct StoreError {
    doing: &'static str,
    pub(super) failure: Failure,
    advice: String,
}

/// Content Too Large: a proxy does not pass a request on whose body is larger than it takes.
pub(super) const TOO_LARGE: u16 = 413;

/// The reason for a failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The `clickhouse` crate's word, or a connection that failed.
    #[error("{}", public(.0))]
    Client(Error),
    /// ClickHouse's exception, as the answer to an insert.
    #[error("{}", named(.0.code))]
    Exception(Exception),
    /// Something else answered an insert, and what it said is of no use here.
    #[error(
        "{url} answered {status}{what}, which is not ClickHouse's own answer; is there a proxy on the way that answers by itself or changes the headers?"
    )]
    Foreign {
        /// As it may be printed.
        url: String,
        status: u16,
        what: &'static str,
    },
    /// An OK that does not stand for all rows.
    #[error(
        "it answered 200 with {written} rows written of {rows} that were sent; does a profile or a proxy change the insert's settings (timeout_overflow_mode)?"
    )]
    Fewer {
        /// By ClickHouse's count.
        written: u64,
        /// As many as were sent.
        rows: u64,
    },
}

/// ClickHouse's exception.
#[derive(Debug)]
pub(super) struct Exception {
    pub code: u32,
    pub text: String,
    /// It is the answer to this very query, which is over then.
    pub is_answer: bool,
}

impl Exception {
    /// True when the table's default for `ingested_at` threw it, and nothing that quotes the text.
    /// The text of a `throwIf` is a constant, and stands at the start.
    pub(super) fn is_late(&self) -> bool {
        let message = self.text.split_once("DB::Exception: ");
        let rest = message.and_then(|(_, message)| message.strip_prefix(FENCE_OVER));
        self.code == THROW_IF
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.']))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// ClickHouse's number, with its name where that is known.
fn named(code: u32) -> String {
    match codes::find(code) {
        Some(known) => format!("Code: {code} ({})", known.name),
        None => format!("Code: {code}"),
    }
}

/// The crate's words, without those of ClickHouse or of something else that has answered.
fn public(error: &Error) -> String {
    match error {
        Error::BadResponse(text) => match exception_code(text) {
            Some(code) => named(code),
            None => format!(
                "a bad response of {} bytes, which is not ClickHouse's own; is there a proxy on the way that answers by itself?",
                text.len()
            ),
        },
        _ => with_causes(error),
    }
}

impl Failure {
    fn code(&self) -> Option<u32> {
        match self {
            Self::Client(Error::BadResponse(text)) => exception_code(text),
            Self::Exception(exception) => Some(exception.code),
            _ => None,
        }
    }

    /// The words of ClickHouse, or of something else that has answered.
    fn words(&self) -> Option<&str> {
        match self {
            Self::Client(Error::BadResponse(text)) => Some(text),
            Self::Exception(exception) => Some(&exception.text),
            _ => None,
        }
    }

    /// The place to look at, where one is known. `tls` is there with https.
    fn advice(&self, tls: Option<&Side>) -> String {
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

fn tls_advice(error: &Error, side: &Side) -> String {
    let told = side.advice(error);
    if !told.is_empty() {
        return told;
    }
    let is_unstarted = tls::is_unstarted(error);
    if let (true, Some(told)) = (is_unstarted, side.after_handshake()) {
        return told;
    }
    if is_unstarted || tls::is_closed(error) {
        return format!("; is the server running, and {}", side.question());
    }
    String::new()
}

impl StoreError {
    pub(super) fn new(
        doing: &'static str,
        failure: impl Into<Failure>,
        tls: Option<&Side>,
    ) -> Self {
        let failure = failure.into();
        if let Some(words) = failure.words() {
            let words: String = words.chars().take(LOGGED_CHARS_MAX).collect();
            debug!(code = failure.code(), words, "ClickHouse's own words");
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

    /// The failure with ClickHouse's own words, which may quote values: for a dead letter.
    pub fn with_words(&self) -> String {
        match self.failure.words() {
            Some(words) => format!("cannot {} ClickHouse: {words}", self.doing),
            None => self.to_string(),
        }
    }

    /// ClickHouse's number for the failure, when it gave one:
    /// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
    pub fn code(&self) -> Option<u32> {
        self.failure.code()
    }

    /// What kind of failure it is, in a word: ClickHouse's number, or what came in its place.
    pub fn kind(&self) -> String {
        let without = match &self.failure {
            Failure::Client(Error::TimedOut) => "timeout",
            Failure::Client(Error::Network(_)) => "network",
            Failure::Foreign { .. } => "not_clickhouse",
            Failure::Fewer { .. } => "fewer_rows",
            // As OpenTelemetry has it for what is not told apart.
            _ => "_OTHER",
        };
        self.code()
            .map_or(without.to_owned(), |code| code.to_string())
    }

    /// True when the insert is over, and commits nothing later: ClickHouse itself has answered with
    /// an exception, or a proxy refuses to pass on a body of this size.
    pub fn is_over(&self) -> bool {
        match &self.failure {
            Failure::Exception(exception) => exception.is_answer,
            Failure::Foreign { status, .. } => *status == TOO_LARGE,
            Failure::Client(_) | Failure::Fewer { .. } => false,
        }
    }

    /// True when a time-out ended it without an answer.
    pub fn is_timeout(&self) -> bool {
        matches!(self.failure, Failure::Client(Error::TimedOut))
    }

    /// The materialized view that an insert failed in, when ClickHouse names one.
    pub fn view(&self) -> Option<&str> {
        let Failure::Exception(exception) = &self.failure else {
            return None;
        };
        // Behind all that may be quoted.
        let (_, name) = exception.text.rsplit_once("while pushing to view ")?;
        let end = name.find(". (").or_else(|| name.find([':', ' ']));
        let name = &name[..end.unwrap_or(name.len())];
        // Words that were cut may end in a value.
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.`-".contains(c);
        (name.len() <= VIEW_BYTES_MAX && name.chars().all(is_name)).then_some(name)
    }

    /// True when another version of ClickHouse may answer next.
    pub(super) fn may_be_another_server(&self) -> bool {
        matches!(self.failure, Failure::Client(_)) || self.code() == Some(UNKNOWN_SETTING)
    }

    /// Whether the table, its columns or the database are at fault, and not the server or the
    /// user.
    pub fn concerns_schema(&self) -> bool {
        matches!(self.failure, Failure::Client(Error::SchemaMismatch(_)))
            || self.remedy() == Remedy::Bisect
            || self.code().is_some_and(codes::concerns_schema)
    }
}

/// A database and a table, each as long as a file's name may be.
const VIEW_BYTES_MAX: usize = 512;
/// UNKNOWN_SETTING
const UNKNOWN_SETTING: u32 = 115;
/// FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
const THROW_IF: u32 = 395;

/// The number behind `Code: ` at the start of an exception's text.
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

    /// ClickHouse's exception.
    pub fn exception(code: u32, message: &str, is_answer: bool) -> StoreError {
        let exception = Exception {
            code,
            text: format!("Code: {code}. DB::Exception: {message}"),
            is_answer,
        };
        StoreError::new("test", Failure::Exception(exception), None)
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
                "Code: 516 (AUTHENTICATION_FAILED); look at clickhouse.user",
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
    fn a_page_of_a_proxy_is_not_told() {
        let page = Error::BadResponse("<html>502</html>".to_owned());
        let text = StoreError::new("test", page, None).to_string();
        assert!(
            text.contains("16 bytes") && !text.contains("html"),
            "{text}"
        );
    }
}
