//! Proof in an answer to an insert.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::failure::{Exception, FailureReason, exception_code};
use super::post::HttpAnswer;

const QUERY_ID: &str = "X-ClickHouse-Query-Id";
const SUMMARY: &str = "X-ClickHouse-Summary";
const EXCEPTION_CODE: &str = "X-ClickHouse-Exception-Code";

/// ClickHouse's own and complete answer to an insert, which confirms the rows. Only reading that
/// answer creates it.
#[derive(Debug)]
pub struct Receipt {
    token: Uuid,
    rows: usize,
    bytes: usize,
    duration: Duration,
    is_exact: bool,
}

/// Request to compare an answer with.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentRequest {
    /// Random id, sent with no other attempt.
    pub query_id: Uuid,
    pub token: Uuid,
    pub rows: usize,
    pub bytes: usize,
    /// Time from the first byte sent to the last byte of the answer.
    pub duration: Duration,
    /// Time after which ClickHouse had to give up.
    pub limit: Duration,
}

/// Used fields of a summary.
#[derive(Debug, Deserialize)]
struct Summary {
    /// Written rows, including those of materialized views.
    written_rows: String,
}

impl Receipt {
    /// Reads an answer.
    ///
    /// # Errors
    /// Fails for anything but ClickHouse's own OK to this very request.
    pub(super) fn read(answer: &HttpAnswer, sent: &SentRequest) -> Result<Self, FailureReason> {
        let is_ours = header(answer, QUERY_ID) == Some(sent.query_id.to_string().as_str());
        if let Some(code) = refusal(answer) {
            return Err(FailureReason::Exception(Exception {
                code,
                text: answer.body.trim().to_owned(),
                is_answer: is_ours,
            }));
        }
        let foreign = |what| {
            Err(FailureReason::Foreign {
                url: answer.url.clone(),
                status: answer.status.as_u16(),
                what,
            })
        };
        if answer.status != StatusCode::OK {
            return foreign(match answer.status {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    " (the batch is too large for it; nginx: client_max_body_size)"
                }
                _ => "",
            });
        }
        if header(answer, QUERY_ID).is_none() {
            return foreign(" without ClickHouse's headers");
        }
        if !is_ours {
            return foreign(" for another query");
        }
        if !answer.body.is_empty() {
            return match answer.body.find("Code: ").map(|at| &answer.body[at..]) {
                Some(text) if exception_code(text).is_some() => {
                    Err(FailureReason::Exception(Exception {
                        code: exception_code(text).unwrap_or_default(),
                        text: text.trim().to_owned(),
                        is_answer: true,
                    }))
                }
                _ => foreign(" with a body, which the answer to an insert never has"),
            };
        }
        if !answer.is_after_request {
            return foreign(" before it received the whole batch");
        }
        let written = header(answer, SUMMARY)
            .and_then(|text| serde_json::from_str::<Summary>(text).ok())
            .and_then(|summary| summary.written_rows.parse::<u64>().ok());
        let rows = sent.rows as u64;
        match written {
            None => foreign(" without ClickHouse's count of rows"),
            Some(written) if written < rows => Err(FailureReason::Fewer { written, rows }),
            Some(written) => Ok(Self {
                token: sent.token,
                rows: sent.rows,
                bytes: sent.bytes,
                duration: sent.duration,
                is_exact: written == rows && sent.duration < sent.limit,
            }),
        }
    }

    /// Returns the token of the sent rows.
    pub fn token(&self) -> Uuid {
        self.token
    }

    /// Returns the number of sent rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the bytes of the header and the encoded rows, before compression.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the time from the first byte sent to the answer.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns true if ClickHouse counted as many rows as were sent, in time. Materialized views
    /// add to the count. With `timeout_overflow_mode = break` ClickHouse counts rows that it then
    /// drops (measured). The request forbids that mode; this check holds even if a proxy removed
    /// it.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }
}

#[cfg(feature = "testing")]
impl Receipt {
    /// Returns a receipt for a block, for tests.
    pub fn for_tests(block: &super::Block, is_exact: bool) -> Self {
        Self {
            token: block.token(),
            rows: block.rows().len(),
            bytes: block.rows().bytes(),
            duration: Duration::from_millis(5),
            is_exact,
        }
    }
}

/// Returns the code of an exception: from the header, or else, if the status is not 200, from the
/// start of the text.
fn refusal(answer: &HttpAnswer) -> Option<u32> {
    let code = answer.headers.get(EXCEPTION_CODE);
    match code.map(|value| value.to_str().ok()?.parse().ok()) {
        Some(code) => Some(code.unwrap_or_default()),
        None if answer.status == StatusCode::OK => None,
        None => exception_code(&answer.body),
    }
}

/// Returns a header that is present exactly once.
fn header<'a>(answer: &'a HttpAnswer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::HeaderName;

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    const SENT: SentRequest = SentRequest {
        query_id: ID,
        token: Uuid::from_u128(1),
        rows: 10,
        bytes: 100,
        duration: Duration::from_millis(5),
        limit: Duration::from_secs(10),
    };

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpAnswer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        HttpAnswer {
            url: "http://proxy".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: body.to_owned(),
            is_after_request: true,
        }
    }

    fn read(
        status: u16,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<Receipt, FailureReason> {
        Receipt::read(&answer(status, headers, body), &SENT)
    }

    fn summary(rows: u64) -> String {
        format!(r#"{{"read_rows":"{rows}","written_rows":"{rows}","elapsed_ns":"1"}}"#)
    }

    #[test]
    fn only_clickhouses_whole_answer_is_a_receipt() {
        let id = ID.to_string();
        let ours = (QUERY_ID, id.as_str());
        let ten = summary(10);
        let receipt = read(200, &[ours, (SUMMARY, &ten)], "").unwrap();
        assert!(receipt.is_exact() && receipt.rows() == 10);
        let late = SentRequest {
            duration: Duration::from_secs(10),
            ..SENT
        };
        let answer = answer(200, &[ours, (SUMMARY, &ten)], "");
        assert!(!Receipt::read(&answer, &late).unwrap().is_exact());
        // A materialized view adds to the count.
        let more = read(200, &[ours, (SUMMARY, &summary(13))], "").unwrap();
        assert!(!more.is_exact());

        let other = Uuid::from_u128(8).to_string();
        let tag = "\n__exception__\nabc\nCode: 241. DB::Exception: no memory\n";
        for (status, headers, body, words) in [
            (200, vec![], "", "without ClickHouse's headers"),
            (200, vec![(SUMMARY, ten.as_str())], "", "headers"),
            (200, vec![], "Code: 241. DB::Exception", "headers"),
            (200, vec![ours], "", "count of rows"),
            (200, vec![ours, (SUMMARY, "{}")], "", "count of rows"),
            (200, vec![ours, (SUMMARY, &ten)], "<html>", "with a body"),
            (200, vec![ours, (SUMMARY, &ten)], tag, "Code: 241"),
            (
                200,
                vec![(QUERY_ID, &other), (SUMMARY, &ten)],
                "",
                "another query",
            ),
            (200, vec![ours, ours, (SUMMARY, &ten)], "", "headers"),
            (502, vec![ours, (SUMMARY, &ten)], "<html>", "answered 502"),
            (204, vec![ours, (SUMMARY, &ten)], "", "answered 204"),
            (
                200,
                vec![ours, (SUMMARY, &ten), (EXCEPTION_CODE, "159")],
                "Code: 159. DB::Exception: Timeout",
                "Code: 159",
            ),
        ] {
            let failure = read(status, &headers, body).unwrap_err();
            let text = failure.to_string();
            assert!(text.contains(words), "{words} in {text}");
            assert!(!text.contains("<html>"), "{text}");
        }
        let fewer = read(200, &[ours, (SUMMARY, &summary(9))], "").unwrap_err();
        assert!(matches!(
            fewer,
            FailureReason::Fewer {
                written: 9,
                rows: 10
            }
        ));
    }

    #[test]
    fn the_code_comes_from_the_header() {
        let id = ID.to_string();
        let text = "Code: 469. DB::Exception: x";
        for (headers, code, is_answer) in [
            (
                vec![(EXCEPTION_CODE, "395"), (QUERY_ID, id.as_str())],
                395,
                true,
            ),
            (vec![(EXCEPTION_CODE, "395")], 395, false),
            (vec![], 469, false),
        ] {
            match read(500, &headers, text).unwrap_err() {
                FailureReason::Exception(exception) => {
                    assert_eq!((exception.code, exception.is_answer), (code, is_answer));
                }
                other => panic!("{other}"),
            }
        }
    }
}
