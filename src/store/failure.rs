//! What went wrong in ClickHouse, and what helps.

use clickhouse::error::Error;

use super::insert::DEADLINE_OVER;
use crate::http::client::with_causes;
use crate::tls::{self, Side};

/// A ClickHouse operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} ClickHouse: {}{advice}", with_causes(.failure))]
pub struct StoreError {
    doing: &'static str,
    failure: Error,
    advice: String,
}

/// What to look at, where a setting is what is wrong. `tls` is there with https.
fn advice(error: &Error, tls: Option<&Side>) -> String {
    let refuses_login = |code| [192, 193, 194, 516].contains(&code);
    match error {
        Error::BadResponse(text) if exception_code(text).is_some_and(refuses_login) => {
            "; look at clickhouse.user and clickhouse.password".to_owned()
        }
        Error::BadResponse(text) if exception_code(text) == Some(497) => {
            "; look at what clickhouse.user is granted (infra/clickhouse/grants.sql)".to_owned()
        }
        _ => tls.map_or_else(String::new, |side| tls_advice(error, side)),
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

/// What helps against a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Time: the server is away, slow or overloaded. The same bytes are sent again.
    Wait,
    /// The operator: credentials, grants, the table or its columns are not right. Pulling
    /// stops until an insert succeeds again.
    Halt,
    /// To leave rows out: ClickHouse refuses one or more of the values. Bisecting finds them.
    Bisect,
    /// To look at the leases: the block came after its deadline.
    Renew,
}

impl StoreError {
    pub(super) fn new(doing: &'static str, failure: Error, tls: Option<&Side>) -> Self {
        Self {
            doing,
            advice: advice(&failure, tls),
            failure,
        }
    }

    pub(super) fn unexpected(what: &str) -> Self {
        Self::new("understand", Error::Custom(what.to_owned()), None)
    }

    /// ClickHouse's number for the failure, when it gave one:
    /// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
    pub fn code(&self) -> Option<u32> {
        match &self.failure {
            Error::BadResponse(text) => exception_code(text),
            _ => None,
        }
    }

    /// What kind of failure it is, in a word: ClickHouse's number, or what came in its place.
    pub fn kind(&self) -> String {
        let without = match &self.failure {
            Error::TimedOut => "timeout",
            Error::Network(_) => "network",
            // As OpenTelemetry has it for what is not told apart.
            _ => "_OTHER",
        };
        self.code()
            .map_or(without.to_owned(), |code| code.to_string())
    }

    /// Whether the table, its columns or the database are at fault, and not the server or the
    /// user.
    pub fn concerns_schema(&self) -> bool {
        matches!(self.failure, Error::SchemaMismatch(_))
            || self.remedy() == Remedy::Bisect
            || self.code().is_some_and(|code| SCHEMA.contains(&code))
    }

    /// What helps. A failure that is not known to need something else waits: nothing is ever
    /// given up because of a number that is not known.
    pub fn remedy(&self) -> Remedy {
        match &self.failure {
            Error::BadResponse(text) if text.contains(DEADLINE_OVER) => Remedy::Renew,
            Error::BadResponse(_) => match self.code() {
                Some(code) if NEEDS_OPERATOR.contains(&code) => Remedy::Halt,
                Some(code) if REFUSES_VALUES.contains(&code) => Remedy::Bisect,
                _ => Remedy::Wait,
            },
            Error::SchemaMismatch(_) | Error::InvalidParams(_) | Error::Unsupported(_) => {
                Remedy::Halt
            }
            _ => Remedy::Wait,
        }
    }
}

/// The exceptions that waiting does not mend.
#[rustfmt::skip]
const NEEDS_OPERATOR: [u32; 16] = [
    10,  // NOT_FOUND_COLUMN_IN_BLOCK
    16,  // NO_SUCH_COLUMN_IN_TABLE
    36,  // BAD_ARGUMENTS
    46,  // UNKNOWN_FUNCTION
    47,  // UNKNOWN_IDENTIFIER
    60,  // UNKNOWN_TABLE
    62,  // SYNTAX_ERROR
    81,  // UNKNOWN_DATABASE
    115, // UNKNOWN_SETTING
    164, // READONLY
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    452, // SETTING_CONSTRAINT_VIOLATION
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
];

/// Those of them that are about the table.
#[rustfmt::skip]
const SCHEMA: [u32; 5] = [
    10, // NOT_FOUND_COLUMN_IN_BLOCK
    16, // NO_SUCH_COLUMN_IN_TABLE
    47, // UNKNOWN_IDENTIFIER
    60, // UNKNOWN_TABLE
    81, // UNKNOWN_DATABASE
];

/// The exceptions that a value in a row may cause: by a constraint, a column's own type, or a
/// materialized view. Where the table itself is at fault, its check tells before any row is
/// left out.
#[rustfmt::skip]
const REFUSES_VALUES: [u32; 17] = [
    6,   // CANNOT_PARSE_TEXT
    26,  // CANNOT_PARSE_QUOTED_STRING
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    53,  // TYPE_MISMATCH
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    131, // TOO_LARGE_STRING_SIZE
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    376, // CANNOT_PARSE_UUID
    395, // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    407, // DECIMAL_OVERFLOW
    469, // VIOLATED_CONSTRAINT
];

/// The number behind `Code: ` at the start of an exception's text.
fn exception_code(text: &str) -> Option<u32> {
    let digits = text.trim_start().strip_prefix("Code: ")?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn only_known_codes_need_the_operator() {
        let remedy = |error| StoreError::new("test", error, None).remedy();
        let exception = |code: u32| Error::BadResponse(format!("Code: {code}. DB::Exception: x"));
        for (error, expected) in [
            (exception(60), Remedy::Halt),
            (exception(516), Remedy::Halt),
            (exception(16), Remedy::Halt),
            (exception(469), Remedy::Bisect),
            (exception(395), Remedy::Bisect),
            (
                Error::BadResponse(format!("Code: 395. DB::Exception: {DEADLINE_OVER}: while")),
                Remedy::Renew,
            ),
            (exception(252), Remedy::Wait), // TOO_MANY_PARTS
            (exception(241), Remedy::Wait), // MEMORY_LIMIT_EXCEEDED
            (exception(202), Remedy::Wait), // TOO_MANY_SIMULTANEOUS_QUERIES
            (exception(530), Remedy::Wait),
            (
                Error::BadResponse("502 Bad Gateway".to_owned()),
                Remedy::Wait,
            ),
            (Error::TimedOut, Remedy::Wait),
            (Error::Network("reset".into()), Remedy::Wait),
        ] {
            let text = error.to_string();
            assert_eq!(remedy(error), expected, "{text}");
        }
    }
}
