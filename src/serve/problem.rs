//! Problems, as RFC 9457 has them.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use signal::contract::PayloadFault;
use signal::{Breach, Invalid};

/// Media type of a problem details object.
const CONTENT: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem, of a request or of one of its signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// The status in words.
    pub title: &'static str,
    /// For programs; it never changes.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// Each rule that is broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which another try makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// A rule that a field breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// A JSON pointer within the signal, as the fragment of a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// A parameter of the URL in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    detail: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title: status.canonical_reason().unwrap_or_default(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Problem of a client that is to come again.
    pub fn retry(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        after: Duration,
    ) -> Self {
        // A part of a second is one: the header knows no smaller.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self {
            retry_after: Some(seconds.max(1)),
            ..Self::new(status, code, detail)
        }
    }

    /// Problem of a signal that is none.
    pub fn invalid(invalid: &Invalid) -> Self {
        let status = match invalid {
            Invalid::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Invalid::NotUtf8 { .. } | Invalid::NotJson(_) => StatusCode::BAD_REQUEST,
            Invalid::BreaksRules(_) | Invalid::BreaksContract(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        let errors = match invalid {
            Invalid::BreaksRules(breaches) => breaches.iter().map(FieldError::of).collect(),
            Invalid::BreaksContract(faults) => {
                faults.0.iter().map(FieldError::of_payload).collect()
            }
            _ => Vec::new(),
        };
        Self {
            errors,
            ..Self::new(status, invalid.code(), invalid.to_string())
        }
    }
}

impl FieldError {
    /// Problem of a parameter in the URL.
    pub fn of_parameter(name: &str, detail: &str) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.to_owned()),
            detail: detail.to_owned(),
        }
    }

    fn of_payload(fault: &PayloadFault) -> Self {
        Self::at(format!("#/{}", fault.path), &fault.rule)
    }

    fn of(breach: &Breach) -> Self {
        let pointer = match breach.field {
            "signal" => "#".to_owned(),
            field => format!("#/{field}"),
        };
        Self::at(pointer, &breach.rule)
    }

    fn at(pointer: String, detail: &str) -> Self {
        Self {
            pointer: Some(pointer),
            parameter: None,
            detail: detail.to_owned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        answer(&self, &self)
    }
}

/// An answer of a problem, whose body may hold more than it.
pub(crate) fn answer(problem: &Problem, body: &impl Serialize) -> Response<Body> {
    let text = match serde_json::to_vec(body) {
        Ok(text) => text,
        Err(error) => error.to_string().into_bytes(),
    };
    let mut response = (problem.status, [(CONTENT_TYPE, CONTENT)], text).into_response();
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breach_points_to_its_field() {
        let breach = |field: &'static str| Breach {
            field,
            rule: "is missing".to_owned(),
        };
        let invalid = Invalid::BreaksRules(vec![breach("severity"), breach("signal")]);
        let answer = serde_json::to_value(Problem::invalid(&invalid)).unwrap();
        assert_eq!(
            answer,
            serde_json::json!({
                "status": 422,
                "title": "Unprocessable Entity",
                "code": "breaks_rules",
                "detail": "severity: is missing; signal: is missing",
                "errors": [
                    {"pointer": "#/severity", "detail": "is missing"},
                    {"pointer": "#", "detail": "is missing"},
                ],
            })
        );
    }

    #[test]
    fn a_part_of_a_second_is_one() {
        for (after_ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            let after = Duration::from_millis(after_ms);
            let status = StatusCode::TOO_MANY_REQUESTS;
            let response = Problem::retry(status, "rate", "", after).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds.to_string());
        }
    }
}
