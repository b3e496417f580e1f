//! Subjects that the daemon's user must be allowed to use, and a trial of each that changes
//! nothing.
//!
//! A subject is allowed if the server passes a message on. So each trial is a message that the
//! receiver rejects in any state, such as one for a stream of another name, or a request that
//! changes nothing. A denied message gets no answer, and the server names its subject
//! ([`jetstream::Denials`]).

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use futures_util::future::join_all;
use jetstream::advisories;
use serde::Deserialize;

use crate::settings::Settings;

/// Body of a request that never changes anything.
const NOTHING: &str = "";
/// Invalid JSON, which JetStream rejects before it reads anything else. A pull that begins as an
/// object would request a message. nats-server logs a warning.
const MALFORMED: &str = "{risksignal check";
/// Name that no stream has, since names have no dots. JetStream stores nothing that expects it.
const NO_STREAM: &str = "risksignal.check";
/// A stream or a consumer under another name than the subject's, which JetStream never creates.
const ELSEWHERE: &str = r#"{"name":"risksignal.check","stream_name":"risksignal.check"}"#;
/// Status of the answer to an unreadable pull.
const BAD_REQUEST: u16 = 400;
/// Name of a consumer, or end of a subject, that nothing else uses.
const NOBODY: &str = "risksignal_check";

/// A subject that the daemon publishes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Complete subject.
    pub subject: String,
    trial: Trial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// Request to the JetStream API, with this body.
    Api(&'static str),
    /// Request for messages of a consumer.
    Pull,
    /// Message for a stream.
    Publish,
    /// Acknowledgment, which gets no answer.
    Settle,
}

/// State of JetStream, on which the needs depend.
#[derive(Debug, Clone, Default)]
pub struct JetStreamState {
    /// Streams that the daemon must create.
    pub absent_streams: Vec<String>,
    /// True if the daemon must create its consumer.
    pub is_consumer_absent: bool,
    /// True if the daemon purges committed history.
    pub purges: bool,
}

/// Lists every subject that `risksignal run` publishes on.
pub fn list_needs(settings: &Settings, found: &JetStreamState) -> Vec<Need> {
    let (signals, consumer) = (&settings.stream.name, &settings.consumer.name);
    let letters = &settings.dead_letters;
    let advisories = advisories::stream_name(settings.plan());
    let claims = settings.claims_log();
    let reader = format!("{advisories}.{consumer}");
    let mut api = vec![
        ("INFO".to_owned(), NOTHING),
        (format!("STREAM.INFO.{signals}"), NOTHING),
        (format!("STREAM.INFO.{}", letters.name), NOTHING),
        (format!("STREAM.INFO.{advisories}"), NOTHING),
        (format!("STREAM.INFO.{claims}"), NOTHING),
        (format!("STREAM.MSG.GET.{signals}"), NOTHING),
        (format!("STREAM.MSG.GET.{}", letters.name), NOTHING),
        (format!("STREAM.MSG.GET.{advisories}"), NOTHING),
        (format!("STREAM.MSG.GET.{claims}"), NOTHING),
        (format!("CONSUMER.INFO.{signals}.{consumer}"), NOTHING),
        (format!("CONSUMER.INFO.{reader}"), NOTHING),
        (format!("CONSUMER.CREATE.{reader}"), ELSEWHERE),
        (format!("CONSUMER.CREATE.{}", letters.name), ELSEWHERE),
        (format!("CONSUMER.CREATE.{claims}"), ELSEWHERE),
        // A recreated reader has a name.
        (format!("CONSUMER.CREATE.{claims}.{NOBODY}"), ELSEWHERE),
        (format!("CONSUMER.DELETE.{claims}.{NOBODY}"), NOTHING),
    ];
    for stream in &found.absent_streams {
        api.push((format!("STREAM.CREATE.{stream}"), ELSEWHERE));
    }
    if found.is_consumer_absent {
        api.push((format!("CONSUMER.CREATE.{signals}.{consumer}"), ELSEWHERE));
    }
    if found.purges {
        // Without a body it would purge.
        api.push((format!("STREAM.PURGE.{signals}"), MALFORMED));
        api.push((format!("CONSUMER.LIST.{signals}"), NOTHING));
        api.push(("STREAM.NAMES".to_owned(), NOTHING));
    }
    let pulls = [
        format!("{signals}.{consumer}"),
        reader,
        format!("{}.{NOBODY}", letters.name),
    ];
    let prefix = &settings.stream.subject_prefix;
    let mut publishes = vec![
        claims.clone(),
        format!("{}.{prefix}.{NOBODY}", letters.subject_prefix),
    ];
    if settings.serve.with_run {
        publishes.push(format!("{prefix}.{NOBODY}"));
    }
    // Deliveries, sequences, time and pending messages of a nonexistent message.
    let settles = [
        format!("$JS.ACK.{signals}.{consumer}.1.0.0.0.0"),
        format!("$JS.ACK.{advisories}.{consumer}.1.0.0.0.0"),
        format!("$JS.FC.{claims}.{NOBODY}.0"),
    ];
    let need = |trial| move |subject| Need { subject, trial };
    let api = api.into_iter().map(|(name, body)| Need {
        subject: format!("$JS.API.{name}"),
        trial: Trial::Api(body),
    });
    let pulls = pulls.map(|name| format!("$JS.API.CONSUMER.MSG.NEXT.{name}"));
    let mut needs: Vec<Need> = api.collect();
    needs.extend(pulls.map(need(Trial::Pull)));
    needs.extend(publishes.into_iter().map(need(Trial::Publish)));
    needs.extend(settles.map(need(Trial::Settle)));
    needs
}

/// Tries all subjects at once, and returns those without the receiver's answer, each with the
/// reason. Takes `nats.request_timeout` if one is denied. An acknowledgment has no answer: only a
/// denial, which arrives before the other answers, reports on it.
pub async fn try_all<'a>(client: &Client, needs: &'a [Need]) -> Vec<(&'a Need, String)> {
    for need in needs.iter().filter(|need| need.trial == Trial::Settle) {
        let sent = client.publish(need.subject.clone(), MALFORMED.into());
        if let Err(error) = sent.await {
            return vec![(need, error.to_string())];
        }
    }
    let asked = needs.iter().filter(|need| need.trial != Trial::Settle);
    let tried = asked.map(|need| async move { Some((need, need.refusal(client).await?)) });
    join_all(tried).await.into_iter().flatten().collect()
}

impl Need {
    /// Returns the reason for which the subject did not get through; `None` if it did.
    async fn refusal(&self, client: &Client) -> Option<String> {
        let body = match self.trial {
            Trial::Api(body) => body,
            _ => MALFORMED,
        };
        let mut request = Request::new().payload(body.into());
        if self.trial == Trial::Publish {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_STREAM, NO_STREAM);
            request = request.headers(headers);
        }
        match client.send_request(self.subject.clone(), request).await {
            Ok(answer) if self.is_answer(&answer) => None,
            Ok(answer) => Some(format!(
                "the answer is not JetStream's ({} bytes)",
                answer.payload.len()
            )),
            // The server accepted it: the consumer or the stream does not exist, which another
            // check reports. `risksignal run` creates both.
            Err(error)
                if !matches!(self.trial, Trial::Api(_))
                    && error.kind() == RequestErrorKind::NoResponders =>
            {
                None
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Some("nothing accepts it".to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// Reports whether only the receiver of this subject can have sent the answer.
    fn is_answer(&self, answer: &Message) -> bool {
        match self.trial {
            Trial::Api(_) => serde_json::from_slice::<ApiAnswer>(&answer.payload)
                .is_ok_and(|answer| answer.kind.starts_with("io.nats.jetstream.api.")),
            Trial::Pull => answer
                .status
                .is_some_and(|status| status.as_u16() == BAD_REQUEST),
            Trial::Publish => serde_json::from_slice::<PublishAnswer>(&answer.payload)
                .is_ok_and(|answer| answer.error.error_code() == ErrorCode::STREAM_NOT_MATCH),
            Trial::Settle => true,
        }
    }
}

#[derive(Deserialize)]
struct ApiAnswer {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct PublishAnswer {
    error: async_nats::jetstream::Error,
}

#[cfg(test)]
mod tests {
    use jetstream::topology;

    use super::*;

    /// Subjects that the daemon can do without.
    const SPARE: [&str; 2] = [
        // Shows an earlier release without claims log; without it the first start waits longer.
        "$JS.API.STREAM.INFO.SIGNALS_EPOCH",
        // Named readers of earlier releases.
        "$JS.API.CONSUMER.CREATE.SIGNALS_DLQ.>",
    ];

    /// Returns the subjects of a list in infra/nats/least-privilege.conf.
    fn shipped(list: &str) -> Vec<String> {
        let config = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/infra/nats/least-privilege.conf"
        );
        let config = std::fs::read_to_string(config).unwrap();
        let (_, list) = config.split_once(&format!("{list} = {{")).unwrap();
        let (list, _) = list.split_once("]\n").unwrap();
        let lines = list.lines().map(str::trim);
        lines
            .filter_map(|line| Some(line.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
            .collect()
    }

    /// Returns the daemon's streams by name, for [`JetStreamState::absent_streams`].
    fn streams(settings: &Settings) -> Vec<String> {
        let wanted = topology::wanted_streams(settings.plan()).into_iter();
        let names = wanted.map(|(name, _)| name);
        names
            .chain([
                advisories::stream_name(settings.plan()),
                settings.claims_log(),
            ])
            .collect()
    }

    #[test]
    fn the_shipped_permissions_are_what_the_daemon_needs() {
        let settings = Settings::default();
        let found = JetStreamState {
            absent_streams: streams(&settings),
            is_consumer_absent: true,
            purges: true,
        };
        let needs = list_needs(&settings, &found);
        let shipped = shipped("MAY_INGEST");
        assert!(shipped.len() > 30, "{shipped:?}");
        let covers = |pattern: &str, need: &Need| topology::subject_covers(pattern, &need.subject);
        for need in &needs {
            let is_allowed = shipped.iter().any(|pattern| covers(pattern, need));
            assert!(is_allowed, "{} is not shipped", need.subject);
        }
        for pattern in &shipped {
            let is_needed = needs.iter().any(|need| covers(pattern, need));
            assert!(
                is_needed || SPARE.contains(&pattern.as_str()),
                "{pattern} is not tried"
            );
        }
    }

    #[test]
    fn only_what_has_to_be_created_or_purged_is_tried() {
        let settings = Settings::default();
        let needs = list_needs(&settings, &JetStreamState::default());
        for word in [
            "STREAM.CREATE",
            "CONSUMER.CREATE.SIGNALS.",
            "PURGE",
            "NAMES",
        ] {
            let found = needs.iter().find(|need| need.subject.contains(word));
            assert_eq!(found, None);
        }
    }
}
