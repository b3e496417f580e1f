//! Parameters of a question in its query string. Every fault is answered at once.

use std::ops::RangeInclusive;

use axum::http::StatusCode;
use signal::event_time;
use store::PageCursor;
use url::form_urlencoded;

use super::super::problem::{FieldError, Problem};
use super::cursor;

/// Signals of a page, unless it says otherwise.
const LIMIT: usize = 50;
/// Parameters that it may have.
const LIMITS: RangeInclusive<usize> = 1..=200;

/// Signals of a wallet that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub event_type: Option<String>,
    pub after: Option<PageCursor>,
    pub limit: usize,
}

impl Page {
    /// Reads the part of a URL behind its question mark.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut page = Self {
            from_ms: None,
            to_ms: None,
            event_type: None,
            after: None,
            limit: LIMIT,
        };
        let mut seen = Vec::new();
        let mut errors = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                errors.push(FieldError::of_parameter(&name, "is there more than once"));
                continue;
            }
            if let Err(detail) = page.set(&name, &value) {
                errors.push(FieldError::of_parameter(&name, &detail));
            }
            seen.push(name);
        }
        if let (Some(from), Some(to)) = (page.from_ms, page.to_ms)
            && from >= to
        {
            errors.push(FieldError::of_parameter("to", "must be later than from"));
        }
        if errors.is_empty() {
            return Ok(page);
        }
        let detail = "not all parameters can be used";
        Err(Problem {
            errors,
            ..Problem::new(StatusCode::BAD_REQUEST, "parameters", detail)
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "from" => self.from_ms = Some(time(value)?),
            "to" => self.to_ms = Some(time(value)?),
            "type" if value.is_empty() => return Err("must name an event type".to_owned()),
            "type" => self.event_type = Some(value.to_owned()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| LIMITS.contains(limit));
                let (least, most) = LIMITS.into_inner();
                self.limit = limit.ok_or_else(|| format!("must be {least} to {most}"))?;
            }
            "cursor" => {
                let place = cursor::read(value);
                self.after = Some(place.ok_or("must be a next_cursor as it was given")?);
            }
            _ => {
                return Err(
                    "is no parameter; there are from, to, type, limit and cursor".to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn time(text: &str) -> Result<i64, String> {
    event_time::from_rfc3339(text)
        .filter(|ms| (event_time::EVENT_TIME_MS_MIN..=event_time::EVENT_TIME_MS_MAX).contains(ms))
        .ok_or_else(|| {
            "must be a time as RFC 3339 has it, such as 2026-11-26T05:00:00Z (a + is written %2B)"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_page_is_read() {
        let place = PageCursor {
            event_time_ms: 1,
            stream_created_ns: 2,
            stream_seq: 3,
        };
        let query = format!(
            "from=1970-01-01T02:00:00.5%2B02:00&to=1970-01-01T00:00:01Z&type=a%26b+c&limit=200&cursor={}",
            cursor::write(place)
        );
        let page = Page {
            from_ms: Some(500),
            to_ms: Some(1000),
            event_type: Some("a&b c".to_owned()),
            after: Some(place),
            limit: 200,
        };
        assert_eq!(Page::parse(&query), Ok(page));
        assert_eq!(Page::parse("").unwrap().limit, LIMIT);
    }

    #[test]
    fn every_fault_is_told() {
        let query =
            "from=yesterday&to=0000-01-01T00:00:00Z&limit=201&type=&cursor=x&limit=5&sort=up";
        let problem = Page::parse(query).unwrap_err();
        let answer = serde_json::to_value(&problem).unwrap();
        let parameters: Vec<&str> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["parameter"].as_str().unwrap())
            .collect();
        let expected = ["from", "to", "limit", "type", "cursor", "limit", "sort"];
        assert_eq!(parameters, expected);
        let turned = "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z";
        assert_eq!(Page::parse(turned).unwrap_err().errors.len(), 1);
    }
}
