//! Access: with a token set, for those who show it.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use net::http::{Reached, names_loopback, repeated};
use option_kit::Secret;
use subtle::ConstantTimeEq;

/// Lets a request through that is meant for this listener. One that repeats a header that counts is
/// malformed. Where no token is asked for, a request that has reached loopback has to name it: a
/// web page may have its own name resolve to loopback, and would read what is here (DNS rebinding).
pub(super) async fn addressed(
    State(token): State<Secret>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if let Some(name) = repeated(request.headers()) {
        let words = format!("the header {name} is there more than once\n");
        return (StatusCode::BAD_REQUEST, words).into_response();
    }
    let reached = request.extensions().get::<Reached>();
    let is_loopback =
        reached.is_none_or(|Reached(address)| address.ip().to_canonical().is_loopback());
    if token.is_empty() && is_loopback && !names_loopback(request.uri(), request.headers()) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this answers to localhost, 127.0.0.1 and [::1] alone: ask by one of them, or set ops.token\n",
        )
            .into_response();
    }
    next.run(request).await
}

/// Lets a request through that shows the token: as a bearer token, or as the password of any
/// user, which is what a browser can send.
pub(super) async fn check(
    State(token): State<Secret>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if token.is_empty() || shows(request.headers(), &token) {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        [(
            WWW_AUTHENTICATE,
            "Basic realm=\"RiskSignal: any user, ops.token as the password\"",
        )],
        "this needs ops.token, as a bearer token or as the password of any user\n",
    )
        .into_response()
}

fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(shown) = headers.get(AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, value)) = shown.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    let shown = if scheme.eq_ignore_ascii_case("bearer") {
        value.as_bytes().to_vec()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(value).unwrap_or_default();
        match pair.iter().position(|byte| *byte == b':') {
            Some(at) => pair[at + 1..].to_vec(),
            None => return false,
        }
    } else {
        return false;
    };
    // In the same time wherever they differ.
    shown.ct_eq(token.expose().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let token = Secret::new("open sesame");
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, expected) in [
            ("Bearer open sesame".to_owned(), true),
            ("bearer open sesame".to_owned(), true),
            (basic("anyone:open sesame"), true),
            (basic(":open sesame"), true),
            ("Bearer open".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("open sesame".to_owned(), false),
            (basic("open sesame"), false),
            ("Basic ???".to_owned(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(shows(&headers, &token), expected, "{value}");
        }
        assert!(!shows(&HeaderMap::new(), &token));
    }
}
