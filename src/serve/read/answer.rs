//! Answers of reads: JSON with a validator, so that a client that has it already is
//! answered no more than that.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, Header, IfNoneMatch};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::error;

use super::super::problem::Problem;

/// It may be kept by the one who asked, but is to be asked for each time.
const CACHING: (HeaderName, HeaderValue) =
    (CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
/// Another token may see something else.
const VARYING: (HeaderName, HeaderValue) = (VARY, HeaderValue::from_static("authorization"));
/// Bytes of the hash that distinguishes answers.
const TAG_BYTES: usize = 16;

/// Answers with the value, or with nothing where the client has it.
pub(super) fn json(asked: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| malformed(&error))?;
    let tag = tag(&body);
    let is_known = tag
        .parse::<ETag>()
        .is_ok_and(|tag| asked_for(asked).is_some_and(|known| !known.precondition_passes(&tag)));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        ([(CONTENT_TYPE, json)], Body::from(body)).into_response()
    };
    let headers = response.headers_mut();
    headers.extend([CACHING, VARYING]);
    // Hexadecimal digits in quotes, so it is a header's value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

/// Answers for a row that holds no JSON.
pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    error!(%error, "An answer could not be written");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(
        status,
        "malformed",
        "the stored row cannot be shown as JSON",
    )
}

fn tag(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    let hex: String = hash[..TAG_BYTES]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// The validator that the client has. A header that makes no sense is none.
fn asked_for(headers: &HeaderMap) -> Option<IfNoneMatch> {
    let mut values = headers.get_all(IF_NONE_MATCH).iter().peekable();
    values.peek()?;
    IfNoneMatch::decode(&mut values).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(known: &str) -> StatusCode {
        let mut asked = HeaderMap::new();
        asked.insert(IF_NONE_MATCH, known.parse().unwrap());
        json(&asked, &"x").unwrap().status()
    }

    #[test]
    fn what_a_client_has_is_not_told_again() {
        let answer = json(&HeaderMap::new(), &"x").unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let tag = answer.headers()[ETAG].to_str().unwrap();
        for known in [tag, "*", &format!("\"other\", {tag}"), &format!("W/{tag}")] {
            assert_eq!(status(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        for other in ["\"other\"", "nonsense"] {
            assert_eq!(status(other), StatusCode::OK, "{other}");
        }
        let other = json(&HeaderMap::new(), &"y").unwrap();
        assert_ne!(other.headers()[ETAG], tag);
    }
}
