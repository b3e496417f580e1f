//! Remedies for ClickHouse's failures.

use clickhouse::error::Error;

use super::StoreError;
use super::codes::{self, Remedy};
use super::failure::{FailureReason, TOO_LARGE};

impl StoreError {
    /// Returns the remedy. An unknown failure waits: the daemon never gives up because of an
    /// unknown code.
    pub fn remedy(&self) -> Remedy {
        match &self.failure {
            FailureReason::Exception(exception) if exception.is_late() => Remedy::Late,
            // Blames no row for a text that may not be ClickHouse's.
            FailureReason::Exception(exception)
                if !exception.is_answer && code_remedy(Some(exception.code)) == Remedy::Bisect =>
            {
                Remedy::Wait
            }
            FailureReason::Exception(_) | FailureReason::Client(Error::BadResponse(_)) => {
                code_remedy(self.code())
            }
            FailureReason::Foreign { status, .. } if *status == TOO_LARGE => Remedy::Halve,
            // A server that answers OK in ClickHouse's place does not recover by itself; an
            // unavailable one may.
            FailureReason::Foreign { status, .. } if *status < 300 => Remedy::Halt,
            FailureReason::Fewer { .. }
            | FailureReason::Client(
                Error::SchemaMismatch(_) | Error::InvalidParams(_) | Error::Unsupported(_),
            ) => Remedy::Halt,
            _ => Remedy::Wait,
        }
    }
}

/// Returns the remedy for ClickHouse's code.
fn code_remedy(code: Option<u32>) -> Remedy {
    code.and_then(codes::find)
        .map_or(Remedy::Wait, |code| code.remedy)
}

#[cfg(test)]
mod tests {
    use super::super::failure::FENCE_OVER;
    use super::super::failure::tests::exception;
    use super::*;

    #[test]
    fn only_known_codes_need_the_operator() {
        for (code, expected) in [
            (60, Remedy::Halt),
            (516, Remedy::Halt),
            (16, Remedy::Halt),
            (469, Remedy::Bisect),
            (395, Remedy::Bisect),
            (252, Remedy::Wait),  // TOO_MANY_PARTS
            (241, Remedy::Halve), // MEMORY_LIMIT_EXCEEDED
            (159, Remedy::Halve), // TIMEOUT_EXCEEDED
            (202, Remedy::Wait),  // TOO_MANY_SIMULTANEOUS_QUERIES
            (530, Remedy::Wait),
        ] {
            let error = exception(code, "x", true);
            assert_eq!(error.remedy(), expected, "{error}");
            let text = format!("Code: {code}. DB::Exception: x");
            let by_crate = StoreError::new("test", Error::BadResponse(text), None);
            assert_eq!(by_crate.remedy(), expected, "{by_crate}");
        }
        assert_eq!(exception(469, "x", false).remedy(), Remedy::Wait);
        let foreign = |status| FailureReason::Foreign {
            url: String::new(),
            status,
            what: "",
        };
        for (failure, expected) in [
            (
                Error::BadResponse("502 Bad Gateway".to_owned()).into(),
                Remedy::Wait,
            ),
            (Error::TimedOut.into(), Remedy::Wait),
            (Error::Network("reset".into()).into(), Remedy::Wait),
            (foreign(200), Remedy::Halt),
            (foreign(502), Remedy::Wait),
            (foreign(403), Remedy::Wait),
            (foreign(413), Remedy::Halve),
            (
                FailureReason::Fewer {
                    written: 1,
                    rows: 2,
                },
                Remedy::Halt,
            ),
        ] {
            let error = StoreError::new("test", failure, None);
            assert_eq!(error.remedy(), expected, "{error}");
        }
    }

    #[test]
    fn only_the_tables_own_word_is_the_deadline() {
        for (code, message, expected) in [
            (395, format!("{FENCE_OVER}: while executing"), Remedy::Late),
            (395, format!("{FENCE_OVER}. (FUNCTION"), Remedy::Late),
            (395, FENCE_OVER.to_owned(), Remedy::Late),
            // A constraint that quotes a payload; a view with its own text.
            (469, format!("{FENCE_OVER}: x"), Remedy::Bisect),
            (469, format!("payload = '{FENCE_OVER}: x'"), Remedy::Bisect),
            (395, format!("no: {FENCE_OVER}: x"), Remedy::Bisect),
            (395, format!("{FENCE_OVER} twice"), Remedy::Bisect),
            (241, format!("{FENCE_OVER}: x"), Remedy::Halve),
        ] {
            let error = exception(code, &message, true);
            assert_eq!(error.remedy(), expected, "{error}");
        }
    }
}
