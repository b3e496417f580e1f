//! What went wrong in ClickHouse, and what helps.

use clickhouse::error::Error;

/// A ClickHouse operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} ClickHouse: {source}")]
pub struct StoreError {
    doing: &'static str,
    source: Error,
}

/// What helps against a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Time: the server is away, slow or overloaded. The same bytes are sent again.
    Wait,
    /// The operator: credentials, grants, the table or its columns are not right. Pulling
    /// stops until an insert succeeds again.
    Halt,
}

impl StoreError {
    pub(super) fn new(doing: &'static str, source: Error) -> Self {
        Self { doing, source }
    }

    pub(super) fn unexpected(what: &str) -> Self {
        Self::new("understand", Error::Custom(what.to_owned()))
    }

    /// ClickHouse's number for the failure, when it gave one:
    /// <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
    pub fn code(&self) -> Option<u32> {
        match &self.source {
            Error::BadResponse(text) => exception_code(text),
            _ => None,
        }
    }

    /// What helps. A failure that is not known to need the operator waits: nothing is ever
    /// dropped because of a number.
    pub fn remedy(&self) -> Remedy {
        match &self.source {
            Error::BadResponse(_) => match self.code() {
                Some(code) if NEEDS_OPERATOR.contains(&code) => Remedy::Halt,
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
const NEEDS_OPERATOR: [u32; 15] = [
    10,  // NOT_FOUND_COLUMN_IN_BLOCK
    16,  // NO_SUCH_COLUMN_IN_TABLE
    36,  // BAD_ARGUMENTS
    47,  // UNKNOWN_IDENTIFIER
    53,  // TYPE_MISMATCH
    60,  // UNKNOWN_TABLE
    81,  // UNKNOWN_DATABASE
    115, // UNKNOWN_SETTING
    117, // INCORRECT_DATA: the types that the header declares are not those of the table
    164, // READONLY
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
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
        let remedy = |error| StoreError::new("test", error).remedy();
        let exception = |code: u32| Error::BadResponse(format!("Code: {code}. DB::Exception: x"));
        for (error, expected) in [
            (exception(60), Remedy::Halt),
            (exception(516), Remedy::Halt),
            (exception(16), Remedy::Halt),
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
