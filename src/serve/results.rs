//! Results of a request's signals: 202 when all are stored, 207 when some are, otherwise
//! the problem.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use signal::contract::PayloadFaults;

use super::problem::{self, Problem};

/// A signal that JetStream has, or the reason why it has not.
pub(super) type Taken = Result<Stored, Problem>;

/// A signal that JetStream has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    pub trace_id: String,
    pub stream: String,
    pub sequence: u64,
    pub duplicate: bool,
    /// Faults of the payload; the signal lands with them.
    #[serde(skip_serializing_if = "PayloadFaults::is_empty")]
    pub warnings: PayloadFaults,
}

#[derive(Serialize)]
struct Item<'a> {
    index: usize,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Stored {
        status: u16,
        #[serde(flatten)]
        stored: &'a Stored,
    },
    Not(&'a Problem),
}

#[derive(Serialize)]
struct Results<'a> {
    /// Problem of the whole, when no signal is stored.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
    results: Vec<Item<'a>>,
}

/// The answer. A request of one signal that is not stored is answered with its problem alone.
pub(super) fn response(taken: Vec<Taken>, are_many: bool) -> Response<Body> {
    let results = taken.iter().enumerate().map(|(index, taken)| Item {
        index,
        what: match taken {
            Ok(stored) => What::Stored {
                status: StatusCode::ACCEPTED.as_u16(),
                stored,
            },
            Err(problem) => What::Not(problem),
        },
    });
    let results = |problem| Results {
        problem,
        results: results.collect(),
    };
    let retry_after = taken
        .iter()
        .filter_map(|taken| taken.as_ref().err()?.retry_after)
        .max();
    let mut statuses = taken.iter().map(|taken| match taken {
        Ok(_) => StatusCode::ACCEPTED,
        Err(problem) => problem.status,
    });
    let first = statuses.next().unwrap_or(StatusCode::ACCEPTED);
    let all = statuses.all(|status| status == first).then_some(first);
    match (all, taken.as_slice()) {
        (Some(StatusCode::ACCEPTED), _) => json(StatusCode::ACCEPTED, None, &results(None)),
        (Some(_), [Err(problem)]) if !are_many => problem.clone().into_response(),
        (Some(status), _) => {
            let detail = format!("none of the {} signals was taken", taken.len());
            let problem = Problem {
                retry_after,
                ..Problem::new(status, "no_signal_taken", detail)
            };
            problem::answer(&problem, &results(Some(&problem)))
        }
        (None, _) => json(StatusCode::MULTI_STATUS, retry_after, &results(None)),
    }
}

fn json(status: StatusCode, retry_after: Option<u64>, body: &Results<'_>) -> Response<Body> {
    let text = match serde_json::to_vec(body) {
        Ok(text) => text,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let mut response = (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    fn stored(sequence: u64) -> Taken {
        Ok(Stored {
            trace_id: "t".to_owned(),
            stream: "SIGNALS".to_owned(),
            sequence,
            duplicate: false,
            warnings: PayloadFaults::default(),
        })
    }

    fn refused(status: u16) -> Taken {
        let status = StatusCode::from_u16(status).unwrap();
        Err(Problem::new(status, "x", "y"))
    }

    async fn answered(taken: Vec<Taken>, are_many: bool) -> (u16, Value) {
        let response = response(taken, are_many);
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_status_is_that_of_all_or_207() {
        let (status, body) = answered(vec![stored(1), stored(2)], true).await;
        assert_eq!(status, 202);
        let second = json!({"index": 1, "status": 202, "trace_id": "t", "stream": "SIGNALS", "sequence": 2, "duplicate": false});
        assert_eq!(body["results"][1], second);
        let (status, body) = answered(vec![stored(1), refused(422)], true).await;
        assert_eq!((status, &body["results"][1]["status"]), (207, &json!(422)));
        assert_eq!(
            answered(vec![refused(422), refused(403)], true).await.0,
            207
        );
        let (status, body) = answered(vec![refused(422), refused(422)], true).await;
        assert_eq!((status, &body["status"]), (422, &json!(422)));
        assert_eq!(body["results"].as_array().map(Vec::len), Some(2));
        let (status, body) = answered(vec![refused(422)], false).await;
        assert_eq!((status, body.get("results")), (422, None));
    }

    #[tokio::test]
    async fn the_longest_pause_counts() {
        let later = |seconds| {
            let after = std::time::Duration::from_secs(seconds);
            Err(Problem::retry(
                StatusCode::SERVICE_UNAVAILABLE,
                "x",
                "y",
                after,
            ))
        };
        for taken in [
            vec![later(2), later(5)],
            vec![stored(1), later(5), later(2)],
        ] {
            let response = response(taken, true);
            assert_eq!(response.headers()[RETRY_AFTER], "5");
        }
    }
}
