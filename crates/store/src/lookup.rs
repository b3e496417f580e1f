//! Look-ups of a claim's or a stream's rows in the table.
//!
//! The daemon inserts a row again that a look-up missed. So an answer without rows counts only if
//! no row policy hides any: an operator may add one after the last check of the table.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use clickhouse::error::Error;
use uuid::Uuid;

use super::profile::ProfileError;
use super::{Store, StoreError};

impl Store {
    /// Returns ClickHouse's current time in seconds since the epoch.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub async fn clock(&self) -> Result<i64, StoreError> {
        let select = "toInt64(toUnixTimestamp(now()))";
        self.query("ask for the time of", select, "").await
    }

    /// Returns the sequences of the rows inserted under a claim, all within `sequences`; the claim
    /// has `rows`.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer, or hides rows from the user.
    pub async fn claim_rows(
        &self,
        claim: Uuid,
        stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
        rows: usize,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let from = format!(
            "FROM {} WHERE stream_created_at = {} AND stream_seq BETWEEN {} AND {} AND claim = '{claim}'",
            self.table(),
            created_at(stream_created_ns),
            sequences.start(),
            sequences.end(),
        );
        // Over a column, so that one row has them all.
        let found = self.query::<Vec<u64>>(DOING, "groupArray(stream_seq)", &from);
        let found: BTreeSet<u64> = found.await?.into_iter().collect();
        if found.len() < rows {
            self.sees_all().await?;
        }
        Ok(found)
    }

    /// Checks, after an answer, that no row policy has hidden rows.
    async fn sees_all(&self) -> Result<(), StoreError> {
        match self.check_row_policies().await {
            Ok(()) => Ok(()),
            Err(ProfileError::Store(error)) => Err(error),
            Err(hides) => Err(self.failed(DOING, Error::Unsupported(hides.to_string()))),
        }
    }

    /// Returns the rows of a stream with the lowest sequences within ranges: `count` rows, or a few
    /// more, so that no sequence is cut. Each has sequence, publish time in nanoseconds, and claim.
    /// Rows from before migration 5 have whole milliseconds and no claim.
    ///
    /// # Errors
    /// Fails as [`Self::claim_rows`] does.
    pub async fn rows_in_ranges(
        &self,
        stream_created_ns: i64,
        ranges: &[RangeInclusive<u64>],
        count: usize,
    ) -> Result<Vec<(u64, i64, Uuid)>, StoreError> {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
            return Ok(Vec::new());
        };
        let between = |range: &RangeInclusive<u64>| {
            format!("stream_seq BETWEEN {} AND {}", range.start(), range.end())
        };
        // The whole range lets the query use the index, which a long list of ranges does not.
        let from = format!(
            "FROM (SELECT stream_seq AS seq, {PUBLISHED_NS} AS ns, toString(claim) AS id FROM {} WHERE stream_created_at = {} AND {} AND ({}) ORDER BY stream_seq LIMIT {count} WITH TIES)",
            self.table(),
            created_at(stream_created_ns),
            between(&(*first.start()..=*last.end())),
            ranges.iter().map(between).collect::<Vec<_>>().join(" OR "),
        );
        let select = "arraySort(groupArray((seq, ns, id)))";
        let rows: Vec<(u64, i64, String)> = self.query(DOING, select, &from).await?;
        self.sees_all().await?;
        let row = |(seq, published, claim): (u64, i64, String)| {
            Some((seq, published, Uuid::parse_str(&claim).ok()?))
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Looks up rows that cannot exist, with each of the daemon's look-ups, to check the grants.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer, or the user may not read a column.
    pub async fn probe_lookups(&self) -> Result<(), StoreError> {
        let nowhere = 0..=0;
        self.claim_rows(Uuid::new_v4(), 0, &nowhere, 1).await?;
        self.rows_in_ranges(0, &[nowhere], 1).await?;
        self.stored_messages(0, &[(0, 0)]).await?;
        self.last_message(0).await?;
        Ok(())
    }

    /// Returns the last message of a stream with a row: sequence and publish time.
    ///
    /// # Errors
    /// Fails as [`Self::claim_rows`] does.
    pub async fn last_message(
        &self,
        stream_created_ns: i64,
    ) -> Result<Option<(u64, i64)>, StoreError> {
        let from = format!(
            "FROM {} WHERE stream_created_at = {}",
            self.table(),
            created_at(stream_created_ns),
        );
        // In a list, since a tuple alone would become two columns.
        let select = format!("[max((stream_seq, {PUBLISHED_NS}))]");
        let last: Vec<(u64, i64)> = self.query(DOING, &select, &from).await?;
        self.sees_all().await?;
        Ok(last.into_iter().find(|last| last.0 > 0))
    }

    /// Returns those of some messages, by sequence and publish time, that have a row.
    ///
    /// # Errors
    /// Fails as [`Self::claim_rows`] does.
    pub async fn stored_messages(
        &self,
        stream_created_ns: i64,
        messages: &[(u64, i64)],
    ) -> Result<BTreeSet<u64>, StoreError> {
        let mut found = BTreeSet::new();
        for messages in messages.chunks(MESSAGES_PER_QUERY) {
            let list: Vec<String> = messages
                .iter()
                .flat_map(|(seq, ns)| [(seq, *ns), (seq, ns - ns.rem_euclid(1_000_000))])
                .map(|(seq, ns)| format!("({seq}, {ns})"))
                .collect();
            let from = format!(
                "FROM {} WHERE stream_created_at = {} AND (stream_seq, {PUBLISHED_NS}) IN ({})",
                self.table(),
                created_at(stream_created_ns),
                list.join(", "),
            );
            let asked = self.query::<Vec<u64>>(DOING, "groupArray(stream_seq)", &from);
            found.extend(asked.await?);
        }
        if found.len() < messages.len() {
            self.sees_all().await?;
        }
        Ok(found)
    }
}

const DOING: &str = "look up rows in";
/// Publish time of a row in nanoseconds since the epoch.
const PUBLISHED_NS: &str =
    "toUnixTimestamp64Milli(published_at) * 1000000 + toInt64(published_sub_ms)";
/// Messages in one query: the list stays below ClickHouse's `max_query_size` of 256 KiB.
const MESSAGES_PER_QUERY: usize = 2_000;

pub(super) fn created_at(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}
