//! The truth at the end: every message is accounted for exactly once.

use std::collections::BTreeMap;

use anyhow::Result;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use clickhouse::Row;
use futures_util::StreamExt;
use serde::Deserialize;
use testkit::nats::{DEAD_LETTERS, STREAM, header, sequence};
use uuid::Uuid;

use super::publisher::NUMBER_HEADER;
use super::row::HASH_SQL;
use super::signals::{Fate, message, number_of, trace_id};
use super::world::World;

/// Offenders that are reported of each kind.
const TOLD_MAX: usize = 5;

/// Findings.
#[derive(Default)]
pub struct Findings {
    pub published: u64,
    pub valid: u64,
    pub rows: u64,
    pub invalid: u64,
    pub letters: u64,
    pub lost: Vec<u64>,
    pub repeated: Vec<u64>,
    pub altered: Vec<u64>,
    /// Messages that are a row and a letter.
    pub both: Vec<u64>,
    /// Messages that an operator has taken out of the stream.
    pub taken_back: u64,
    /// Rows, letters and messages that are none of this run's.
    pub strange: Vec<String>,
}

/// Fate of one message.
#[derive(Clone, Copy, Default)]
struct Seen {
    rows: u32,
    hash: u64,
    letters: u32,
    letter_is_right: bool,
}

/// Number of times that a message may be a row, or a letter.
#[derive(Clone, Copy)]
struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    const NEVER: Self = Self { min: 0, max: 0 };

    /// Once; one that an operator has taken out of the stream may have landed before, or not, and
    /// may have been published again, since its publisher had no answer yet.
    fn once(times_taken_back: u32) -> Self {
        Self {
            min: u32::from(times_taken_back == 0),
            max: 1 + times_taken_back,
        }
    }
}

#[derive(Row, Deserialize)]
struct Stored {
    #[serde(with = "clickhouse::serde::uuid")]
    trace_id: Uuid,
    hash: u64,
}

/// Compares all there is with what the seed says.
pub async fn check(world: &World, seed: u64, count: u64) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut seen = vec![Seen::default(); usize::try_from(count)?];
    look_at_rows(world, seed, &mut seen, &mut findings).await?;
    look_at_letters(world, seed, &mut seen, &mut findings).await;
    look_at_stream(world, count, &mut findings).await?;
    findings.taken_back = world.taken_back_count();
    for (number, seen) in (0..).zip(&seen) {
        let once = Bounds::once(world.times_taken_back(number));
        let (rows, letters, is_right) = match message(seed, number).fate {
            Fate::Lands(row) => {
                findings.valid += 1;
                (once, Bounds::NEVER, seen.hash == row.hash())
            }
            Fate::IsRejected(_) => {
                findings.invalid += 1;
                (Bounds::NEVER, once, seen.letter_is_right)
            }
        };
        let is_there = seen.rows > 0 || seen.letters > 0;
        if seen.rows > 0 && seen.letters > 0 {
            findings.both.push(number);
        } else if seen.rows < rows.min || seen.letters < letters.min {
            findings.lost.push(number);
        } else if seen.rows > rows.max || seen.letters > letters.max {
            findings.repeated.push(number);
        } else if is_there && !is_right {
            findings.altered.push(number);
        }
    }
    Ok(findings)
}

async fn look_at_rows(
    world: &World,
    seed: u64,
    seen: &mut [Seen],
    findings: &mut Findings,
) -> Result<()> {
    let sql = format!("SELECT trace_id, {HASH_SQL} AS hash FROM raw_signals");
    let mut rows = world
        .clickhouse
        .client()
        .query_raw(&sql)
        .fetch::<Stored>()?;
    while let Some(row) = rows.next().await? {
        findings.rows += 1;
        let number = number_of(seed, row.trace_id).and_then(|number| usize::try_from(number).ok());
        match number.and_then(|number| seen.get_mut(number)) {
            Some(seen) => {
                seen.rows += 1;
                seen.hash = row.hash;
            }
            None => findings
                .strange
                .push(format!("a row with trace id {}", row.trace_id)),
        }
    }
    // Data that are put back have other messages at sequences that were there before.
    let position = if world.is_put_back() {
        "stream_created_at, stream_seq, published_at"
    } else {
        "stream_seq"
    };
    let sql = format!("SELECT uniqExact({position}) FROM raw_signals");
    let positions: u64 = world.clickhouse.number(&sql).await;
    if positions != findings.rows {
        findings.strange.push(format!(
            "{} rows with {positions} distinct positions",
            findings.rows
        ));
    }
    Ok(())
}

async fn look_at_letters(world: &World, seed: u64, seen: &mut [Seen], findings: &mut Findings) {
    for letter in world.nats[0].messages(DEAD_LETTERS).await {
        findings.letters += 1;
        let number: Option<u64> = header(&letter, NUMBER_HEADER).parse().ok();
        let place = number.and_then(|number| seen.get_mut(usize::try_from(number).ok()?));
        let (Some(number), Some(seen)) = (number, place) else {
            findings
                .strange
                .push(format!("dead letter {}", sequence(&letter)));
            continue;
        };
        let expected = message(seed, number);
        seen.letters += 1;
        seen.letter_is_right = matches!(expected.fate, Fate::IsRejected(reason)
            if header(&letter, "Risksignal-Reason") == reason)
            && header(&letter, "Risksignal-Subject") == expected.subject
            && letter.payload == expected.body;
    }
}

/// The stream holds every message once, or the publisher's word is worth nothing.
async fn look_at_stream(world: &World, count: u64, findings: &mut Findings) -> Result<()> {
    let jetstream = world.nats[0].jetstream().await;
    let stream = jetstream.get_stream(STREAM).await?;
    findings.published = stream.cached_info().state.messages;
    let count_min = count.saturating_sub(world.taken_back_count());
    if !(count_min..=count).contains(&findings.published) {
        findings.strange.push(format!(
            "{} messages in the stream, {count} were published",
            findings.published
        ));
    }
    Ok(())
}

/// A row that is one of several, or wrong.
#[derive(Row, Deserialize)]
struct Details {
    stream_seq: u64,
    ingested_at: String,
    part: String,
    payload: String,
}

impl Findings {
    fn is_good(&self) -> bool {
        self.lost.is_empty()
            && self.repeated.is_empty()
            && self.both.is_empty()
            && self.altered.is_empty()
            && self.strange.is_empty()
    }

    /// The first offenders, and all that is known of each.
    pub async fn offenders(&self, world: &World, seed: u64) -> Result<Vec<String>> {
        if self.is_good() {
            return Ok(Vec::new());
        }
        let mut lines: Vec<String> = self.strange.iter().take(TOLD_MAX).cloned().collect();
        let kinds = [
            ("lost", &self.lost),
            ("repeated", &self.repeated),
            ("both row and letter", &self.both),
            ("altered", &self.altered),
        ];
        let output: Vec<u64> = kinds
            .iter()
            .flat_map(|(_, numbers)| numbers.iter().take(TOLD_MAX).copied())
            .collect();
        let sequences = sequences(world, &output).await?;
        for (kind, numbers) in kinds {
            for number in numbers.iter().take(TOLD_MAX) {
                let in_stream = sequences.get(number).cloned().unwrap_or_default();
                lines.push(format!(
                    "{kind}: number {number}, in the stream: {in_stream:?}"
                ));
                if let Fate::IsRejected(reason) = message(seed, *number).fate {
                    lines.push(format!("    is to be a dead letter: {reason}"));
                }
                for row in rows(world, seed, *number).await? {
                    let Details {
                        stream_seq,
                        ingested_at,
                        part,
                        payload,
                    } = row;
                    lines.push(format!(
                        "    row: stream_seq {stream_seq}, ingested_at {ingested_at}, part {part}, payload {payload}"
                    ));
                }
            }
        }
        Ok(lines)
    }
}

async fn rows(world: &World, seed: u64, number: u64) -> Result<Vec<Details>> {
    let sql = format!(
        "SELECT stream_seq, toString(ingested_at) AS ingested_at, toString(_part) AS part, \
         substring(payload, 1, 40) AS payload FROM raw_signals \
         WHERE trace_id = '{}' ORDER BY ingested_at",
        trace_id(seed, number)
    );
    Ok(world
        .clickhouse
        .client()
        .query_raw(&sql)
        .fetch_all()
        .await?)
}

/// Places of these numbers in the stream, each with the time when it was stored.
async fn sequences(world: &World, numbers: &[u64]) -> Result<BTreeMap<u64, Vec<String>>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let jetstream = world.nats[0].jetstream().await;
    let stream = jetstream.get_stream(STREAM).await?;
    let count = stream.cached_info().state.messages;
    let config = pull::OrderedConfig {
        headers_only: true,
        deliver_policy: DeliverPolicy::All,
        ..Default::default()
    };
    let messages = stream.create_consumer(config).await?.messages().await?;
    let mut messages = messages.take(usize::try_from(count)?);
    while let Some(message) = messages.next().await {
        let message = message?;
        let number: u64 = header(&message, NUMBER_HEADER).parse()?;
        if numbers.contains(&number) {
            let at = message.info().map(|info| info.published.to_string());
            let place = format!("{} at {}", sequence(&message), at.unwrap_or_default());
            found.entry(number).or_default().push(place);
        }
    }
    Ok(found)
}
