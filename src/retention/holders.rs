//! Positions that limit a purge: claims logs and durable consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use claims_log::LogStream;
use clock::unix_nanos;
use jetstream::stored;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::settings::Settings;

use super::error::RetentionError;
use super::plan::{Holder, HolderKind};

/// Most durable consumers of a stream; with more of them nothing is purged.
const CONSUMERS_MAX: usize = 1_000;
/// Name for consumers that a list lacks without their names.
const UNNAMED: &str = "some that are not named";
/// Most claims logs of one stream; with more of them nothing is purged.
const LOGS_MAX: usize = 64;
/// Time, in addition to fence and late commit, in which daemons recreate their removed log.
const REBUILD: Duration = Duration::from_secs(60);

/// Returns the durable consumers of the stream of signals. One with nothing to deliver and no
/// pending ack needs no present message.
///
/// # Errors
/// Fails when JetStream fails, or there are too many.
pub async fn consumers(
    context: &Context,
    settings: &Settings,
    info: &Info,
) -> Result<Vec<Holder>, RetentionError> {
    let mut holders = Vec::new();
    for consumer in durables(context, &settings.stream.name).await? {
        let is_idle = consumer.num_pending == 0 && consumer.num_ack_pending == 0;
        let floor = match is_idle {
            true => u64::MAX,
            false => consumer.ack_floor.stream_sequence,
        };
        let kind = match consumer.name == settings.consumer.name {
            true => HolderKind::Own,
            false => HolderKind::Consumer,
        };
        holders.push(holder(context, info, kind, consumer.name, floor).await?);
    }
    Ok(holders)
}

/// A part of the list of consumers.
#[derive(Deserialize)]
struct ConsumerPage {
    total: usize,
    consumers: Option<Vec<Option<consumer::Info>>>,
    missing: Option<Vec<String>>,
}

impl ConsumerPage {
    /// Returns the consumers from `offset` on, if the server of each has answered.
    fn complete(self, offset: usize) -> Result<Vec<consumer::Info>, RetentionError> {
        let missing = self.missing.unwrap_or_default();
        let consumers: Option<Vec<_>> = self.consumers.unwrap_or_default().into_iter().collect();
        match consumers {
            Some(found) if missing.is_empty() && (!found.is_empty() || offset >= self.total) => {
                Ok(found)
            }
            _ if missing.is_empty() => Err(RetentionError::Unanswered(vec![UNNAMED.to_owned()])),
            _ => Err(RetentionError::Unanswered(missing)),
        }
    }
}

/// Lists the durable consumers of a stream by requests of its own: the client library drops the
/// names of consumers whose server does not answer (`missing`), and these need their messages most.
async fn durables(context: &Context, stream: &str) -> Result<Vec<consumer::Info>, RetentionError> {
    let (mut durables, mut offset) = (Vec::new(), 0);
    loop {
        let subject = format!("CONSUMER.LIST.{stream}");
        let request = json!({ "offset": offset });
        let page: ConsumerPage = page(context, "consumers", &subject, &request).await?;
        let total = page.total;
        let found = page.complete(offset)?;
        offset += found.len();
        let is_durable = |consumer: &consumer::Info| consumer.config.durable_name.is_some();
        durables.extend(found.into_iter().filter(is_durable));
        if durables.len() > CONSUMERS_MAX {
            return Err(RetentionError::TooMany("durable consumers", CONSUMERS_MAX));
        }
        if offset >= total {
            return Ok(durables);
        }
    }
}

/// Requests a part of a list.
async fn page<T: DeserializeOwned>(
    context: &Context,
    what: &'static str,
    subject: &str,
    request: &Value,
) -> Result<T, RetentionError> {
    let answer: Result<Response<T>, _> = context.request(subject.to_owned(), request).await;
    match answer.map_err(|error| RetentionError::list(what, error))? {
        Response::Ok(page) => Ok(page),
        Response::Err { error } => Err(RetentionError::list(what, error)),
    }
}

/// Returns a holder with an estimate of the bytes that it holds.
pub async fn holder(
    context: &Context,
    info: &Info,
    kind: HolderKind,
    name: String,
    floor: u64,
) -> Result<Holder, RetentionError> {
    let state = &info.state;
    let all = (state.last_sequence + 1).saturating_sub(state.first_sequence);
    let needed = state.last_sequence.saturating_sub(floor).min(all);
    let bytes = u128::from(state.bytes) * u128::from(needed) / u128::from(all.max(1));
    let mut age_seconds = 0;
    if needed > 0 {
        let stream = &info.config.name;
        let next = stored::next_on_subject(context, stream, floor.saturating_add(1), ">").await?;
        let now = OffsetDateTime::now_utc().min(state.last_timestamp);
        let age = next.map(|next| (now - next.time).whole_seconds());
        age_seconds = age.map_or(0, |age| u64::try_from(age).unwrap_or(0));
    }
    Ok(Holder {
        kind,
        name,
        floor,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        age_seconds,
        holds_back: false,
    })
}

/// Claims logs of the stream of signals other than the daemon's own.
#[derive(Debug, Default)]
pub struct OtherLogs {
    /// Known logs, by name.
    seen: BTreeMap<String, Seen>,
}

/// State of a log at the last check.
#[derive(Debug)]
struct Seen {
    created: OffsetDateTime,
    last_record: u64,
    /// Creation time of the stream of signals that the floor belongs to.
    stream_created: OffsetDateTime,
    floor: u64,
    at: Instant,
}

impl OtherLogs {
    /// Returns the floors of all of them. A log without an entry for the stream needs everything. A
    /// removed log keeps its last floor for as long as its daemons may take to recreate it.
    ///
    /// # Errors
    /// Fails when a log cannot be read, or there are too many.
    pub async fn floors(
        &mut self,
        context: &Context,
        settings: &Settings,
        info: &Info,
    ) -> Result<Vec<Holder>, RetentionError> {
        for name in names(context, settings).await? {
            let log = LogStream::named(context.clone(), name.clone());
            let Some(found) = log.find().await? else {
                continue;
            };
            let (created, last_record) = (found.created, found.state.last_sequence);
            let same = self.seen.get_mut(&name).filter(|seen| {
                (seen.created, seen.last_record, seen.stream_created)
                    == (created, last_record, info.created)
            });
            if let Some(seen) = same {
                seen.at = Instant::now();
                continue;
            }
            let read = log.read().await?;
            let floor = read.and_then(|log| log.floor(unix_nanos(info.created)));
            let seen = Seen {
                created,
                last_record,
                stream_created: info.created,
                floor: floor.unwrap_or(0),
                at: Instant::now(),
            };
            self.seen.insert(name, seen);
        }
        let clickhouse = &settings.clickhouse;
        let grace = 2 * (clickhouse.fence + clickhouse.late_commit) + REBUILD;
        self.seen.retain(|_, seen| seen.at.elapsed() < grace);
        let mut holders = Vec::new();
        for (name, seen) in &self.seen {
            let kind = HolderKind::ClaimsLog;
            holders.push(holder(context, info, kind, name.clone(), seen.floor).await?);
        }
        Ok(holders)
    }
}

/// Returns the names of these logs.
async fn names(context: &Context, settings: &Settings) -> Result<Vec<String>, RetentionError> {
    #[derive(Deserialize)]
    struct Page {
        total: usize,
        streams: Option<Vec<String>>,
    }
    let prefix = format!("{}_CLAIMS_", settings.stream.name);
    let own = settings.claims_log();
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        // The subject of a log is its name, which has no dot.
        let request = json!({ "subject": "*", "offset": offset });
        let page: Page = page(context, "streams", "STREAM.NAMES", &request).await?;
        let found = page.streams.unwrap_or_default();
        offset += found.len();
        let is_end = found.is_empty() || offset >= page.total;
        names.extend(
            found
                .into_iter()
                .filter(|name| name.starts_with(&prefix) && *name != own),
        );
        if names.len() > LOGS_MAX {
            return Err(RetentionError::TooMany("claims logs", LOGS_MAX));
        }
        if is_end {
            return Ok(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_lacks_a_consumer_is_an_error_that_names_it() {
        let page = |text| serde_json::from_str::<ConsumerPage>(text).unwrap();
        let lacking = r#"{"total": 2, "consumers": [], "missing": ["reader"]}"#;
        let error = page(lacking).complete(0).unwrap_err();
        assert!(
            error.to_string().contains("do not answer: reader;"),
            "{error}"
        );
        let blank = r#"{"total": 1, "consumers": [null]}"#;
        assert!(page(blank).complete(0).is_err());
        // The second part of two is not there.
        let short = r#"{"total": 2, "consumers": []}"#;
        assert!(page(short).complete(1).is_err());
        assert!(page(short).complete(2).is_ok());
        let none = page(r#"{"total": 0, "consumers": null}"#);
        assert!(none.complete(0).unwrap().is_empty());
    }
}
