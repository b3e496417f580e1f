//! The stream, the table and the dead letters that the claims log is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use claims::{Nonce, Position, Stored};
use claims_log::{Fences, Holdings, HoldingsError, LogStream, Page};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ClaimingError;
use crate::dead_letter::{Letters, LettersError, Range, is_of};
use crate::jetstream::stored::{self, StoredMessage};
use crate::jetstream::topology;
use crate::pipeline::unix_nanos;
use crate::settings::Settings;
use crate::store::Store;

/// Dead letters that are read after a connect. An older one was explained by an earlier check.
const LETTERS: u64 = 1_000;
/// Rows that are read from the table at once.
const ROWS: usize = 10_000;
/// A dead letter has whole milliseconds.
const NS_PER_MS: i64 = 1_000_000;

/// The servers that the log is held against.
#[derive(Clone)]
pub struct Servers {
    pub(super) context: Context,
    pub(super) store: Store,
    pub(super) settings: Settings,
}

impl Servers {
    /// Servers that are connected.
    pub fn new(context: &Context, store: &Store, settings: &Settings) -> Self {
        Self {
            context: context.clone(),
            store: store.clone(),
            settings: settings.clone(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The log of the settings' stream and table.
    pub fn log(&self) -> LogStream {
        let (stream, clickhouse) = (&self.settings.stream, &self.settings.clickhouse);
        LogStream::new(
            self.context.clone(),
            &stream.name,
            &clickhouse.database,
            &clickhouse.table,
        )
    }

    /// Reads the bounds of the fences of claims that nobody remembers, whichever process published them.
    pub(super) async fn fences(&self) -> Result<Fences, ClaimingError> {
        let clickhouse = &self.settings.clickhouse;
        Ok(Fences {
            longest: self.store.longest_fence(clickhouse.fence).await?,
            late: clickhouse.late_commit.as_secs() as i64,
        })
    }

    /// The stream of signals.
    ///
    /// # Errors
    /// When it does not exist, or JetStream fails.
    pub async fn stream_info(&self) -> Result<Info, ClaimingError> {
        let name = &self.settings.stream.name;
        let stream = topology::find_stream(&self.context, name).await?;
        stream.ok_or_else(|| ClaimingError::NoStream(name.clone()))
    }

    /// The message at a sequence, as the stream has it now.
    async fn position(
        &self,
        stream_created_ns: i64,
        stream_seq: u64,
    ) -> Result<Option<Position>, ClaimingError> {
        let name = &self.settings.stream.name;
        let found = stored::message(&self.context, name, stream_seq).await?;
        Ok(found.map(|found| position(stream_created_ns, &found)))
    }

    /// The messages that the newest dead letters are of, by their headers: sequence and publish
    /// time in milliseconds, each with the sequence of its letter.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn newest_letters(
        &self,
        stream_created_ns: i64,
    ) -> Result<BTreeMap<(u64, i64), u64>, ClaimingError> {
        let letters = match Letters::open(&self.context, &self.settings).await {
            Ok(letters) => letters,
            // The daemon creates it before it claims anything.
            Err(LettersError::NoStream(_)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let created = stream_created_ns.to_string();
        let table = self.settings.clickhouse.full_table();
        let mut scan = letters.scan(Range {
            first: letters.last_sequence().saturating_sub(LETTERS - 1),
            ..Range::default()
        });
        let mut found = BTreeMap::new();
        while let Some(scanned) = scan.next().await? {
            let (head, letter) = (scanned.head, scanned.sequence);
            let is_ours = head.table.is_empty() || head.table == table;
            if !is_ours
                || head.stream != self.settings.stream.name
                || head.stream_created != created
            {
                continue;
            }
            // A record of a replay has no time, and is no letter.
            if let Ok(published) = OffsetDateTime::parse(&head.published, &Rfc3339) {
                let ms = unix_nanos(published).div_euclid(NS_PER_MS);
                // The first part, which comes first.
                found.entry((head.stream_sequence, ms)).or_insert(letter);
            }
        }
        Ok(found)
    }

    /// Reports whether the stream of dead letters has the letter of a message with this body on a
    /// subject.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn has_letter(&self, subject: &str, body: &[u8]) -> Result<bool, ClaimingError> {
        let letters = &self.settings.dead_letters.name;
        let found = stored::next_on_subject(&self.context, letters, 1, subject).await?;
        Ok(found.is_some_and(|found| is_of(&found, &self.settings.clickhouse.full_table(), body)))
    }

    /// Reports whether the stream of dead letters has the letter of a message with this body at a
    /// sequence.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn is_letter(&self, sequence: u64, body: &[u8]) -> Result<bool, ClaimingError> {
        let letters = &self.settings.dead_letters.name;
        let found = stored::message(&self.context, letters, sequence).await?;
        Ok(found.is_some_and(|found| is_of(&found, &self.settings.clickhouse.full_table(), body)))
    }

    /// Rows within ranges, and the newest dead letters of messages that the stream still has.
    async fn stored_within(
        &self,
        created: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<Page, ClaimingError> {
        let rows = self.store.within(created, ranges, ROWS).await?;
        let next = (rows.len() >= ROWS)
            .then(|| rows.last().and_then(|(seq, ..)| seq.checked_add(1)))
            .flatten();
        let row = |(stream_seq, published_ns, claim): (u64, i64, uuid::Uuid)| Stored {
            position: Position {
                stream_created_ns: created,
                stream_seq,
                published_ns,
            },
            claim: Some(Nonce(claim.as_u128())),
        };
        let mut stored: Vec<Stored> = rows.into_iter().map(row).collect();
        for ((seq, ms), letter) in self.newest_letters(created).await? {
            if !ranges.iter().any(|range| range.contains(&seq)) {
                continue;
            }
            let name = &self.settings.stream.name;
            let Some(found) = stored::message(&self.context, name, seq).await? else {
                continue;
            };
            let position = position(created, &found);
            // Somebody else's message in the stream of letters says nothing of the log.
            if position.published_ns.div_euclid(NS_PER_MS) == ms
                && self.is_letter(letter, &found.body).await?
            {
                stored.push(Stored {
                    position,
                    claim: None,
                });
            }
        }
        Ok(Page { stored, next })
    }

    /// The last message that the table or the dead letters have. Where the stream still has it at
    /// the same millisecond, its time is exact. A letter of a message that the stream has no more
    /// counts not: no delivery brings that.
    pub(super) async fn newest(&self, created: i64) -> Result<Option<Position>, ClaimingError> {
        let row = self.store.last(created).await?;
        let above = row.map_or(0, |(seq, _)| seq);
        let letters = self.newest_letters(created).await?;
        for (seq, ms) in letters.into_keys().rev().filter(|(seq, _)| *seq > above) {
            let found = self.position(created, seq).await?;
            let is_same = |found: &Position| found.published_ns.div_euclid(NS_PER_MS) == ms;
            if let Some(found) = found.filter(is_same) {
                return Ok(Some(found));
            }
        }
        let Some((stream_seq, published_ns)) = row else {
            return Ok(None);
        };
        let newest = Position {
            stream_created_ns: created,
            stream_seq,
            published_ns,
        };
        let found = self.position(created, stream_seq).await?;
        let is_same = |found: &Position| {
            found.published_ns.div_euclid(NS_PER_MS) == published_ns.div_euclid(NS_PER_MS)
        };
        Ok(Some(found.filter(is_same).unwrap_or(newest)))
    }

    /// Reports whether each message is as it was claimed, or deleted.
    ///
    /// # Errors
    /// When JetStream fails.
    pub async fn are_as_claimed(
        &self,
        messages: &BTreeSet<Position>,
    ) -> Result<bool, ClaimingError> {
        for message in messages {
            let created = message.stream_created_ns;
            match self.position(created, message.stream_seq).await? {
                Some(found) if found == *message => {}
                Some(_) => return Ok(false),
                None if self.stream_info().await?.state.last_sequence < message.stream_seq => {
                    return Ok(false);
                }
                // Its deletion hides whether it was this message: others near it say so.
                None if self.differs_below(created, message.stream_seq).await? => {
                    return Ok(false);
                }
                None => {}
            }
        }
        Ok(true)
    }
}

fn position(stream_created_ns: i64, message: &StoredMessage) -> Position {
    Position {
        stream_created_ns,
        stream_seq: message.sequence,
        published_ns: unix_nanos(message.time),
    }
}

impl Holdings for Servers {
    async fn stream(&self) -> Result<i64, HoldingsError> {
        Ok(unix_nanos(self.stream_info().await?.created))
    }

    async fn are_as_claimed(&self, messages: &BTreeSet<Position>) -> Result<bool, HoldingsError> {
        Ok(Self::are_as_claimed(self, messages).await?)
    }

    async fn stored(
        &self,
        created: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<Page, HoldingsError> {
        Ok(self.stored_within(created, ranges).await?)
    }

    async fn last_stored(&self, created: i64) -> Result<Option<Position>, HoldingsError> {
        Ok(self.newest(created).await?)
    }

    async fn fences(&self) -> Result<Fences, HoldingsError> {
        Ok(Self::fences(self).await?)
    }

    async fn clock(&self) -> Result<i64, HoldingsError> {
        Ok(self.store.clock().await?)
    }
}
