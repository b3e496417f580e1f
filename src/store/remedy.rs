//! Remedies for ClickHouse's failures.

use clickhouse::error::Error;

use super::StoreError;
use super::codes;
use super::failure::{Failure, TOO_LARGE};

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
    /// To settle the claim: the block came outside its fence.
    Late,
    /// To send less at a time: ClickHouse lacks the memory or the time for all of it.
    Halve,
}

impl StoreError {
    /// What helps. A failure that is not known to need something else waits: nothing is ever
    /// given up because of a number that is not known.
    pub fn remedy(&self) -> Remedy {
        match &self.failure {
            Failure::Exception(exception) if exception.is_late() => Remedy::Late,
            // No row is blamed for what ClickHouse may not have said.
            Failure::Exception(exception)
                if !exception.is_answer && of_code(Some(exception.code)) == Remedy::Bisect =>
            {
                Remedy::Wait
            }
            Failure::Exception(_) | Failure::Client(Error::BadResponse(_)) => of_code(self.code()),
            Failure::Foreign { status, .. } if *status == TOO_LARGE => Remedy::Halve,
            // Who says OK for ClickHouse does not mend by itself; what is away may.
            Failure::Foreign { status, .. } if *status < 300 => Remedy::Halt,
            Failure::Fewer { .. }
            | Failure::Client(
                Error::SchemaMismatch(_) | Error::InvalidParams(_) | Error::Unsupported(_),
            ) => Remedy::Halt,
            _ => Remedy::Wait,
        }
    }
}

/// Finds the remedy by ClickHouse's number.
fn of_code(code: Option<u32>) -> Remedy {
    code.and_then(codes::find)
        .map_or(Remedy::Wait, |code| code.remedy)
}

#[cfg(test)]
mod tests {
    use super::super::failure::tests::exception;
    use super::super::insert::FENCE_OVER;
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
        let foreign = |status| Failure::Foreign {
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
                Failure::Fewer {
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
            // A constraint that quotes a payload; a view with words of its own.
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
