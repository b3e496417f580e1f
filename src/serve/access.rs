//! Access: for those who show a token that the operator has allowed, for what it is for, and no
//! more often than it may.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::serve::tokens::{Scope, Token};

use super::problem::Problem;

/// The header that asks a client for a token: RFC 6750.
const CHALLENGE: &str = "Bearer realm=\"RiskSignal\"";

/// Every token, which may be replaced while they are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Arc<RwLock<Vec<Arc<Caller>>>>);

/// A client that shows a token.
#[derive(Debug)]
pub(crate) struct Caller {
    token: Token,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Keys {
    /// Takes these tokens from now on. One that stays as it was keeps what is left of its rate.
    pub fn set(&self, tokens: &[Token]) {
        let mut callers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *callers = tokens
            .iter()
            .map(|token| {
                let known = callers.iter().find(|caller| caller.token == *token);
                known.map_or_else(|| Arc::new(Caller::new(token.clone())), Arc::clone)
            })
            .collect();
    }

    /// Finds the client whose token the request shows.
    fn find(&self, headers: &HeaderMap) -> Option<Arc<Caller>> {
        let shown = headers.get(AUTHORIZATION)?.as_bytes();
        let scheme = shown.get(..7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let hash = Sha256::digest(shown[7..].trim_ascii());
        let callers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // All of them, and each in the same time wherever it differs.
        let mut found = None;
        for caller in callers.iter() {
            if bool::from(caller.token.sha256[..].ct_eq(&hash)) {
                found = Some(Arc::clone(caller));
            }
        }
        found
    }
}

impl Caller {
    fn new(token: Token) -> Self {
        let limiter = token.rate.map(|rate| {
            let burst = token.burst.unwrap_or(rate);
            RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))
        });
        Self { token, limiter }
    }

    /// Its name, which is no secret.
    pub fn name(&self) -> &str {
        &self.token.name
    }

    /// Returns true when it may send signals of this type.
    pub fn may_send(&self, event_type: &str) -> bool {
        let allowed = self.token.event_types.as_ref();
        allowed.is_none_or(|allowed| allowed.iter().any(|one| one == event_type))
    }

    /// Takes this many signals, or questions, from its rate.
    ///
    /// # Errors
    /// When that is more than it may at present, or at once.
    pub fn spend(&self, count: usize) -> Result<(), Problem> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (Some(limiter), Some(count)) = (&self.limiter, NonZeroU32::new(count)) else {
            return Ok(());
        };
        match limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Problem::retry(
                StatusCode::TOO_MANY_REQUESTS,
                "rate",
                "the rate of this token is reached",
                not_until.wait_time_from(DefaultClock::default().now()),
            )),
            Err(capacity) => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "burst",
                format!(
                    "{count} signals are more than this token may ever send at once: {}",
                    capacity.0
                ),
            )),
        }
    }
}

/// Demand of a route on its callers.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub keys: Keys,
    pub scope: Scope,
}

/// Lets a request through that shows a token of the scope, with its [`Caller`].
pub(crate) async fn check(
    State(guard): State<Guard>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let scope = guard.scope.name();
    let Some(caller) = guard.keys.find(request.headers()) else {
        let shown = request.headers().contains_key(AUTHORIZATION);
        let (challenge, detail) = match shown {
            true => (
                format!("{CHALLENGE}, error=\"invalid_token\""),
                "no such token is known here",
            ),
            false => (CHALLENGE.to_owned(), "this needs a bearer token"),
        };
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "token", detail);
        return challenged(problem, &challenge);
    };
    if !caller.token.scopes.contains(&guard.scope) {
        let detail = format!("this token is not for this: it lacks the scope {scope}");
        let problem = Problem::new(StatusCode::FORBIDDEN, "scope", detail);
        let challenge = format!("{CHALLENGE}, error=\"insufficient_scope\", scope=\"{scope}\"");
        return challenged(problem, &challenge);
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn challenged(problem: Problem, challenge: &str) -> Response {
    let mut response = problem.into_response();
    // Made of fixed words, so it is a header's value.
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str, rate: Option<u32>) -> Token {
        Token {
            name: name.to_owned(),
            sha256: Sha256::digest(secret).into(),
            scopes: vec![Scope::Ingest],
            event_types: Some(vec!["risk_event".to_owned()]),
            rate: rate.and_then(NonZeroU32::new),
            burst: rate.and_then(|rate| NonZeroU32::new(rate * 2)),
        }
    }

    fn found(keys: &Keys, shown: &str) -> Option<Arc<Caller>> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, shown.parse().unwrap());
        keys.find(&headers)
    }

    #[test]
    fn only_a_token_opens() {
        let keys = Keys::default();
        keys.set(&[token("a", "one", None), token("b", "two", None)]);
        for (shown, name) in [
            ("Bearer one", Some("a")),
            ("bearer  two ", Some("b")),
            ("Bearer three", None),
            ("Bearer ", None),
            ("Basic one", None),
            ("one", None),
        ] {
            let found = found(&keys, shown);
            assert_eq!(found.as_ref().map(|caller| caller.name()), name, "{shown}");
        }
        assert!(keys.find(&HeaderMap::new()).is_none());
        let caller = found(&keys, "Bearer one").unwrap();
        assert!(caller.may_send("risk_event") && !caller.may_send("transaction"));
    }

    #[test]
    fn a_rate_comes_to_an_end_and_outlives_a_change_of_others() {
        let keys = Keys::default();
        keys.set(&[token("a", "one", Some(1))]);
        let caller = found(&keys, "Bearer one").unwrap();
        assert_eq!(caller.spend(3).unwrap_err().code, "burst");
        assert_eq!(caller.spend(2), Ok(()));
        keys.set(&[token("b", "two", None), token("a", "one", Some(1))]);
        let caller = found(&keys, "Bearer one").unwrap();
        let problem = caller.spend(2).unwrap_err();
        assert_eq!(problem.code, "rate");
        assert!(problem.retry_after.is_some_and(|seconds| seconds <= 2));
        assert_eq!(found(&keys, "Bearer two").unwrap().spend(1000), Ok(()));
    }
}
