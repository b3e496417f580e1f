//! Servers that the claims log is compared with: the stream, the table and the dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use claims::{Nonce, Position, StoredEntry};
use claims_log::{Fences, Holdings, HoldingsError, HoldingsPage, LogStream};
use clock::unix_nanos;
use jetstream::dead_letter::{
    DeadLetterStream, DeadLetterStreamError, SequenceRange, is_dead_letter_of,
};
use jetstream::stored::{self, StoredMessage};
use jetstream::topology;
use store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::settings::Settings;

use super::error::ClaimingError;

/// Most dead letters that are read after a connect. An earlier check has explained older ones.
const LETTERS: u64 = 1_000;
/// Rows that are read from the table at once.
const ROWS: usize = 10_000;
/// Nanoseconds in a millisecond, the precision of dead letters.
const NS_PER_MS: i64 = 1_000_000;

/// Servers that the log is compared with.
#[derive(Clone)]
pub struct Servers {
    pub(super) context: Context,
    pub(super) store: Store,
    pub(super) settings: Settings,
}

impl Servers {
    /// Creates it from connected servers.
    pub fn new(context: &Context, store: &Store, settings: &Settings) -> Self {
        Self {
            context: context.clone(),
            store: store.clone(),
            settings: settings.clone(),
        }
    }

    /// Returns JetStream.
    pub fn jetstream(&self) -> &Context {
        &self.context
    }

    /// Returns the settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the log of the settings' stream and table.
    pub fn log(&self) -> LogStream {
        let (stream, clickhouse) = (&self.settings.stream, &self.settings.clickhouse);
        LogStream::new(
            self.context.clone(),
            &stream.name,
            &clickhouse.database,
            &clickhouse.table,
        )
        .with_ledger(self.store.ledger_names())
    }

    /// Reads the bounds of the fences of any process's unknown claims.
    pub(super) async fn fences(&self) -> Result<Fences, ClaimingError> {
        let clickhouse = &self.settings.clickhouse;
        Ok(Fences {
            longest: self.store.longest_fence(clickhouse.fence).await?,
            late: clickhouse.late_commit.as_secs() as i64,
        })
    }

    /// Looks up the stream of signals.
    ///
    /// # Errors
    /// Fails when it does not exist, or JetStream fails.
    pub async fn stream_info(&self) -> Result<Info, ClaimingError> {
        let name = &self.settings.stream.name;
        let stream = topology::find_stream(&self.context, name).await?;
        stream.ok_or_else(|| ClaimingError::NoStream(name.clone()))
    }

    /// Returns the position of the stream's present message at a sequence.
    async fn position(
        &self,
        stream_created_ns: i64,
        stream_seq: u64,
    ) -> Result<Option<Position>, ClaimingError> {
        let name = &self.settings.stream.name;
        let found = stored::message(&self.context, name, stream_seq).await?;
        Ok(found.map(|found| position(stream_created_ns, &found)))
    }

    /// Returns the messages of the newest dead letters, from their headers: sequence and publish
    /// time in milliseconds, each with the sequence of its dead letter.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn newest_dead_letters(
        &self,
        stream_created_ns: i64,
    ) -> Result<BTreeMap<(u64, i64), u64>, ClaimingError> {
        let letters = match DeadLetterStream::open(&self.context, self.settings.plan()).await {
            Ok(letters) => letters,
            // The daemon creates it before it claims anything.
            Err(DeadLetterStreamError::NoStream(_)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let created = stream_created_ns.to_string();
        let table = self.settings.clickhouse.full_table();
        let mut scan = letters.scan(SequenceRange {
            first: letters.last_sequence().saturating_sub(LETTERS - 1),
            ..SequenceRange::default()
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
            // The record of a replay has no time, and is no dead letter.
            if let Ok(published) = OffsetDateTime::parse(&head.published, &Rfc3339) {
                let ms = unix_nanos(published).div_euclid(NS_PER_MS);
                // The first part precedes the others.
                found.entry((head.stream_sequence, ms)).or_insert(letter);
            }
        }
        Ok(found)
    }

    /// Reports whether the stream of dead letters has the dead letter of a message with this body
    /// on a subject.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn has_dead_letter_on(
        &self,
        subject: &str,
        body: &[u8],
    ) -> Result<bool, ClaimingError> {
        let letters = &self.settings.dead_letters.name;
        let found = stored::next_on_subject(&self.context, letters, 1, subject).await?;
        Ok(found.is_some_and(|found| {
            is_dead_letter_of(&found, &self.settings.clickhouse.full_table(), body)
        }))
    }

    /// Reports whether the stream of dead letters has the dead letter of a message with this body
    /// at a sequence.
    ///
    /// # Errors
    /// Fails when JetStream fails.
    pub async fn has_dead_letter_at(
        &self,
        sequence: u64,
        body: &[u8],
    ) -> Result<bool, ClaimingError> {
        let letters = &self.settings.dead_letters.name;
        let found = stored::message(&self.context, letters, sequence).await?;
        Ok(found.is_some_and(|found| {
            is_dead_letter_of(&found, &self.settings.clickhouse.full_table(), body)
        }))
    }

    /// Returns rows within ranges, and the newest dead letters of messages that the stream still
    /// has.
    async fn stored_within(
        &self,
        created: i64,
        ranges: &[RangeInclusive<u64>],
    ) -> Result<HoldingsPage, ClaimingError> {
        let rows = self.store.rows_in_ranges(created, ranges, ROWS).await?;
        let next = (rows.len() >= ROWS)
            .then(|| rows.last().and_then(|(seq, ..)| seq.checked_add(1)))
            .flatten();
        let row = |(stream_seq, published_ns, claim): (u64, i64, uuid::Uuid)| StoredEntry {
            position: Position {
                stream_created_ns: created,
                stream_seq,
                published_ns,
            },
            claim: Some(Nonce(claim.as_u128())),
        };
        let mut stored: Vec<StoredEntry> = rows.into_iter().map(row).collect();
        for ((seq, ms), letter) in self.newest_dead_letters(created).await? {
            if !ranges.iter().any(|range| range.contains(&seq)) {
                continue;
            }
            let name = &self.settings.stream.name;
            let Some(found) = stored::message(&self.context, name, seq).await? else {
                continue;
            };
            let position = position(created, &found);
            // A foreign message in the stream of dead letters proves nothing about the log.
            if position.published_ns.div_euclid(NS_PER_MS) == ms
                && self.has_dead_letter_at(letter, &found.body).await?
            {
                stored.push(StoredEntry {
                    position,
                    claim: None,
                });
            }
        }
        Ok(HoldingsPage { stored, next })
    }

    /// Returns the last message with a row or a dead letter. If the stream still has it at the same
    /// millisecond, its time is exact. A dead letter of a message that has left the stream does not
    /// count, since no delivery brings that message again.
    pub(super) async fn newest_stored(
        &self,
        created: i64,
    ) -> Result<Option<Position>, ClaimingError> {
        let row = self.store.last_message(created).await?;
        let above = row.map_or(0, |(seq, _)| seq);
        let letters = self.newest_dead_letters(created).await?;
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
    /// Fails when JetStream fails.
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
                // Its deletion hides whether it was this message: messages near it show that.
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
    ) -> Result<HoldingsPage, HoldingsError> {
        Ok(self.stored_within(created, ranges).await?)
    }

    async fn last_stored(&self, created: i64) -> Result<Option<Position>, HoldingsError> {
        Ok(self.newest_stored(created).await?)
    }

    async fn fences(&self) -> Result<Fences, HoldingsError> {
        Ok(Self::fences(self).await?)
    }

    async fn clock(&self) -> Result<i64, HoldingsError> {
        Ok(self.store.clock().await?)
    }
}
