//! What the table has of a claim, or of a stream.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use uuid::Uuid;

use super::{Store, StoreError};

impl Store {
    /// ClickHouse's seconds since the epoch, asked now.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn clock(&self) -> Result<i64, StoreError> {
        let select = "toInt64(toUnixTimestamp(now()))";
        self.ask("ask for the time of", select, "").await
    }

    /// The sequences of the rows that were inserted under a claim, all within `sequences`.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn of_claim(
        &self,
        claim: Uuid,
        stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let from = format!(
            "FROM {} WHERE stream_created_at = {} AND stream_seq BETWEEN {} AND {} AND claim = '{claim}'",
            self.table(),
            created_at(stream_created_ns),
            sequences.start(),
            sequences.end(),
        );
        // Over a column, so that one row has them all.
        let found = self.ask::<Vec<u64>>("look up rows in", "groupArray(stream_seq)", &from);
        Ok(found.await?.into_iter().collect())
    }

    /// The rows of a stream within ranges of sequences, those with the lowest sequences: so many
    /// or a few more, so that no sequence is cut. Sequence, publish time in nanoseconds, and claim.
    /// Rows of before migration 5 have whole milliseconds, and no claim.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn within(
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
        // The whole range for the index, which a long list of ranges does not use.
        let from = format!(
            "FROM (SELECT stream_seq AS seq, {PUBLISHED_NS} AS ns, toString(claim) AS id FROM {} WHERE stream_created_at = {} AND {} AND ({}) ORDER BY stream_seq LIMIT {count} WITH TIES)",
            self.table(),
            created_at(stream_created_ns),
            between(&(*first.start()..=*last.end())),
            ranges.iter().map(between).collect::<Vec<_>>().join(" OR "),
        );
        let select = "arraySort(groupArray((seq, ns, id)))";
        let rows: Vec<(u64, i64, String)> = self.ask("look up rows in", select, &from).await?;
        let row = |(seq, published, claim): (u64, i64, String)| {
            Some((seq, published, Uuid::parse_str(&claim).ok()?))
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// The last message of a stream that has a row: sequence and publish time.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn last(&self, stream_created_ns: i64) -> Result<Option<(u64, i64)>, StoreError> {
        let from = format!(
            "FROM {} WHERE stream_created_at = {}",
            self.table(),
            created_at(stream_created_ns),
        );
        // Over a list, since a tuple alone would be two columns.
        let select = format!("[max((stream_seq, {PUBLISHED_NS}))]");
        let last: Vec<(u64, i64)> = self.ask("look up rows in", &select, &from).await?;
        Ok(last.into_iter().find(|last| last.0 > 0))
    }

    /// Those of some messages, by sequence and publish time, that have a row.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn having(
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
            let asked = self.ask::<Vec<u64>>("look up rows in", "groupArray(stream_seq)", &from);
            found.extend(asked.await?);
        }
        Ok(found)
    }
}

/// A row's publish time in nanoseconds since the epoch.
const PUBLISHED_NS: &str =
    "toUnixTimestamp64Milli(published_at) * 1000000 + toInt64(published_sub_ms)";
/// Messages asked for at a time: the list stays below ClickHouse's `max_query_size` of 256 KiB.
const MESSAGES_PER_QUERY: usize = 2_000;

pub(super) fn created_at(ns: i64) -> String {
    format!("fromUnixTimestamp64Nano(toInt64({ns}), 'UTC')")
}
