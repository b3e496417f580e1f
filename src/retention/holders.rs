//! Positions that limit a purge: claims logs and durable consumers.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use claims_log::LogStream;
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::RetentionError;
use super::plan::{Holder, HolderKind};
use crate::jetstream::stored;
use crate::pipeline::unix_nanos;
use crate::settings::Settings;

/// Durable consumers of a stream that are looked at; with more of them nothing is purged.
const CONSUMERS_MAX: usize = 1_000;
/// Claims logs of one stream that are looked at; with more of them nothing is purged.
const LOGS_MAX: usize = 64;
/// Besides fence and late commit: the time in which the daemons of a log that is gone create it.
const REBUILD: Duration = Duration::from_secs(60);

/// The durable consumers of the stream of signals. One that has nothing to deliver and waits for
/// no ack needs nothing that is there now.
///
/// # Errors
/// When JetStream fails, or there are too many.
pub async fn consumers(
    context: &Context,
    settings: &Settings,
    info: &Info,
) -> Result<Vec<Holder>, RetentionError> {
    let stream = context.get_stream_no_info(&settings.stream.name).await;
    let stream = stream.map_err(|error| RetentionError::list("consumers", error))?;
    let mut listed = stream.consumers();
    let mut holders = Vec::new();
    while let Some(consumer) = listed
        .try_next()
        .await
        .map_err(|error| RetentionError::list("consumers", error))?
    {
        if consumer.config.durable_name.is_none() {
            continue;
        }
        if holders.len() == CONSUMERS_MAX {
            return Err(RetentionError::TooMany("durable consumers", CONSUMERS_MAX));
        }
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

/// A holder with an estimate of what it holds.
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
    /// Those that were seen, by name.
    seen: BTreeMap<String, Seen>,
}

/// A log at the last look.
#[derive(Debug)]
struct Seen {
    created: OffsetDateTime,
    last_record: u64,
    /// Creation of the stream of signals that the floor is of.
    stream_created: OffsetDateTime,
    floor: u64,
    at: Instant,
}

impl OtherLogs {
    /// The floors of all of them. A log without an entry for the stream needs everything. One that
    /// is gone keeps its last floor for as long as its daemons may take to create it.
    ///
    /// # Errors
    /// When a log cannot be read, or there are too many.
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

/// The names of these logs.
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
        // A log's subject is its name, which has no dot.
        let request = json!({ "subject": "*", "offset": offset });
        let page: Response<Page> = context
            .request("STREAM.NAMES", &request)
            .await
            .map_err(|error| RetentionError::list("streams", error))?;
        let page = match page {
            Response::Ok(page) => page,
            Response::Err { error } => return Err(RetentionError::list("streams", error)),
        };
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
