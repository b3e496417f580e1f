//! `POST /v1/signals`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use jetstream::{NotPublished, Outcome, PublishAnswer, Publisher};
use metric_kit::signed;
use signal::contract::PayloadFaults;

use crate::capacity::PublishRefusals;
use crate::reload::SettingsHandle;

use super::access::Caller;
use super::body::{Bodies, Encoding};
use super::judge::{IdempotencyKey, Judge, Judged};
use super::metrics::HttpMetrics;
use super::problem::Problem;
use super::results::{self, Stored, Taken};
use super::split::{Form, split};

/// Names a request, so that a retry is recognised.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// After which a client is to try again, when as many signals as may be wait for JetStream.
const BUSY: Duration = Duration::from_secs(1);
/// The same, when NATS is away: the client here connects again within 3.2 seconds.
const AWAY: Duration = Duration::from_secs(3);
/// The same, when the stream is full, which the daemon or the operator has to change.
const FULL: Duration = Duration::from_secs(10);

/// Parts that the route works with.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    pub in_force: SettingsHandle,
    pub publisher: Publisher,
    pub bodies: Bodies,
    pub metrics: HttpMetrics,
    /// Receives what the stream refuses for want of room.
    pub refusals: PublishRefusals,
}

/// Takes the signals of a request, and answers when JetStream has answered for each.
pub(super) async fn signals(
    State(ingest): State<Ingest>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut response = match ingest.take(&caller, &headers, body).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let no_store = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

impl Ingest {
    async fn take(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Problem> {
        let encoding = encoding(headers)?;
        let form = form(headers)?;
        let key = text(headers, &IDEMPOTENCY_KEY).map(IdempotencyKey::parse);
        let key = key.transpose()?;
        let length = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
        if length.is_some_and(|length| self.bodies.exceeds(length)) {
            return Err(self.bodies.too_large());
        }
        // Held until the last of its signals is answered for: they share its bytes.
        let held = self.bodies.read(body, encoding).await?;
        let settings = Arc::clone(&self.in_force.borrow());
        let signals = split(&held.bytes, form, settings.serve.max_signals)?;
        let bodies = signals.as_slice();
        caller.spend(bodies.len())?;
        let judge = Judge {
            settings: &settings,
            caller,
            key: key.as_ref(),
        };
        let place = |index| signals.are_many().then_some(index);
        let judged = bodies.iter().enumerate();
        let judged = judged.map(|(index, body)| judge.judge(body, place(index)));
        let taken = self.publish(judged.collect()).await;
        for result in &taken {
            self.metrics.signal(match result {
                Ok(stored) if stored.duplicate => "duplicate",
                Ok(_) => "stored",
                Err(problem) if problem.retry_after.is_some() => "put_off",
                Err(_) => "refused",
            });
        }
        Ok(results::response(taken, signals.are_many()))
    }

    /// Publishes what may be, in its order, and returns the result of each.
    async fn publish(&self, judged: Vec<Result<Judged, Problem>>) -> Vec<Taken> {
        let mut messages = Vec::with_capacity(judged.len());
        let mut signals = Vec::with_capacity(judged.len());
        for judged in judged {
            signals.push(judged.map(|judged| {
                messages.push(judged.message);
                (judged.trace_id, judged.warnings)
            }));
        }
        let waiting = Waiting::begin(&self.metrics, messages.len());
        let published = self.publisher.publish(messages).await;
        drop(waiting);
        if let Ok(outcomes) = &published {
            self.note_room(outcomes);
        }
        let mut published = published.map(Vec::into_iter);
        let mut outcome = |(trace_id, warnings)| match &mut published {
            Ok(outcomes) => {
                let outcome = outcomes.next().unwrap_or(Outcome::Unanswered);
                taken(trace_id, warnings, outcome)
            }
            Err(why) => Err(not_published(*why)),
        };
        let results = signals.into_iter();
        results
            .map(|signal| signal.and_then(&mut outcome))
            .collect()
    }
}

impl Ingest {
    /// Notes for readiness, log and metrics whether the stream had room.
    fn note_room(&self, outcomes: &[Outcome]) {
        let in_force = self.in_force.borrow();
        let stream = &in_force.stream.name;
        let mut answers = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Answered(answer) => Some(answer),
            _ => None,
        });
        let full = answers.clone().find_map(|answer| match answer {
            PublishAnswer::Full(reason) => Some(reason.clone()),
            _ => None,
        });
        match full {
            Some(reason) => self.refusals.note_refusal(stream, reason),
            None if answers.any(|answer| matches!(answer, PublishAnswer::Stored { .. })) => {
                self.refusals.note_success(stream);
            }
            None => {}
        }
    }
}

/// Signals that wait for JetStream's answer, as the metrics count them; also when the client goes.
struct Waiting<'m> {
    metrics: &'m HttpMetrics,
    signals: i64,
}

impl<'m> Waiting<'m> {
    fn begin(metrics: &'m HttpMetrics, signals: usize) -> Self {
        let signals = signed(signals);
        metrics.http_unanswered_signals.add(signals);
        Self { metrics, signals }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.metrics.http_unanswered_signals.sub(self.signals);
    }
}

fn taken(trace_id: String, warnings: PayloadFaults, outcome: Outcome) -> Taken {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match outcome {
        Outcome::Answered(PublishAnswer::Stored {
            stream,
            sequence,
            duplicate,
        }) => Ok(Stored {
            trace_id,
            stream,
            sequence,
            duplicate,
            warnings,
        }),
        Outcome::Answered(PublishAnswer::Full(words)) => {
            let detail = format!("JetStream has no room: {words}");
            let status = StatusCode::TOO_MANY_REQUESTS;
            Err(Problem::retry(status, "stream_full", detail, FULL))
        }
        Outcome::Answered(PublishAnswer::NotNow(words)) => {
            let detail = format!("JetStream does not take it at present: {words}");
            Err(Problem::retry(unavailable, "unavailable", detail, AWAY))
        }
        Outcome::Answered(PublishAnswer::Never(words)) => {
            let detail = format!("JetStream refuses it: {words}");
            let status = StatusCode::BAD_GATEWAY;
            Err(Problem::new(status, "refused_by_jetstream", detail))
        }
        Outcome::TooLarge => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the signal is larger than NATS takes (max_payload)",
        )),
        Outcome::Unanswered => {
            let detail = "JetStream did not answer in time; it may have the signal, and another try with the same Idempotency-Key or trace_id is no duplicate";
            Err(Problem::retry(unavailable, "unanswered", detail, AWAY))
        }
    }
}

fn not_published(why: NotPublished) -> Problem {
    match why {
        NotPublished::Away => Problem::retry(
            StatusCode::SERVICE_UNAVAILABLE,
            "nats_away",
            "there is no connection to NATS",
            AWAY,
        ),
        NotPublished::Busy => Problem::retry(
            StatusCode::TOO_MANY_REQUESTS,
            "busy",
            "as many signals as may wait for JetStream's answer do",
            BUSY,
        ),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    match text(headers, &CONTENT_ENCODING) {
        None | Some("identity") => Ok(Encoding::Identity),
        Some("gzip") => Ok(Encoding::Gzip),
        Some(_) => Err(unsupported("Content-Encoding must be gzip, or none")),
    }
}

fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    text(headers, &CONTENT_TYPE)
        .and_then(Form::of)
        .ok_or_else(|| unsupported("Content-Type must be application/json or application/x-ndjson"))
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail)
}

/// A header's text; what is no text counts as an empty one.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}
