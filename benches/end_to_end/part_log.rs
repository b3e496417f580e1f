//! ClickHouse's own record of when each part of a table came to be: the clock of every
//! measurement here. It needs nothing of any program that inserts, and nobody polls.

use anyhow::{Result, ensure};
use clickhouse::Row;
use serde::Deserialize;

use super::statistics::percentile;
use super::world::{TABLE, World};

/// An insert or a merge.
#[derive(Debug, Clone, Row, Deserialize)]
pub struct Event {
    /// Time of the commit: microseconds since the epoch.
    pub at_us: i64,
    /// By how many it changed the number of active parts.
    pub change: i64,
    /// Rows inserted; none by a merge.
    pub rows: u64,
}

/// Inserts into one table, in order.
#[derive(Debug, Clone)]
pub struct History(Vec<Event>);

/// Reads what happened to the table of a run.
pub async fn history(world: &World, database: &str) -> Result<History> {
    world.clickhouse.execute("SYSTEM FLUSH LOGS").await;
    let sql = format!(
        "SELECT toUnixTimestamp64Micro(event_time_microseconds) AS at_us, \
         toInt64(if(event_type = 'NewPart', 1, 1 - length(merged_from))) AS change, \
         if(event_type = 'NewPart', rows, 0) AS rows FROM system.part_log \
         WHERE database = '{database}' AND table = '{TABLE}' \
         AND event_type IN ('NewPart', 'MergeParts') AND error = 0 \
         ORDER BY event_time_microseconds"
    );
    let events: Vec<Event> = world.clickhouse.rows(&sql).await;
    ensure!(
        events.iter().any(|event| event.rows > 0),
        "ClickHouse's part_log has no insert into {database}.{TABLE}"
    );
    Ok(History(events))
}

impl History {
    fn inserts(&self) -> impl Iterator<Item = &Event> {
        self.0.iter().filter(|event| event.rows > 0)
    }

    /// Commit time of the last insert: microseconds since the epoch.
    pub fn last_commit_us(&self) -> i64 {
        self.inserts().map(|event| event.at_us).max().unwrap_or(0)
    }

    /// The most parts that were active at once.
    pub fn parts_max(&self) -> f64 {
        let active = self.0.iter().scan(0, |active, event| {
            *active += event.change;
            Some(*active)
        });
        active.max().unwrap_or(0) as f64
    }

    /// Rows of the middle insert.
    pub fn rows_median(&self) -> f64 {
        let mut rows: Vec<f64> = self.inserts().map(|event| event.rows as f64).collect();
        rows.sort_by(f64::total_cmp);
        percentile(&rows, 0.5)
    }

    pub fn insert_count(&self) -> f64 {
        self.inserts().count() as f64
    }

    /// Rows committed from one time to another, both in microseconds since the epoch.
    pub fn rows_between(&self, from_us: i64, to_us: i64) -> u64 {
        self.inserts()
            .filter(|event| (from_us..to_us).contains(&event.at_us))
            .map(|event| event.rows)
            .sum()
    }
}

#[derive(Row, Deserialize)]
struct Committed {
    stream_seq: u64,
    commit_us: i64,
}

/// Has the table keep from which insert a row came, also where parts were merged.
pub async fn keep_block_numbers(world: &World, database: &str) {
    let sql =
        format!("ALTER TABLE {database}.{TABLE} MODIFY SETTING enable_block_number_column = 1");
    world.clickhouse.execute(&sql).await;
}

/// Commit time of each sequence's row: microseconds since the epoch. The table has
/// to have [kept its block numbers](keep_block_numbers); the projection by sequence has not.
pub async fn commits(world: &World, database: &str) -> Vec<(u64, i64)> {
    world.clickhouse.execute("SYSTEM FLUSH LOGS").await;
    let sql = format!(
        "SELECT stream_seq, commit_us FROM \
         (SELECT stream_seq, _partition_id AS partition, toInt64(_block_number) AS block \
          FROM {database}.{TABLE}) AS signals INNER JOIN \
         (SELECT partition_id AS partition, \
          toInt64(splitByChar('_', part_name)[2]) AS block, \
          toUnixTimestamp64Micro(event_time_microseconds) AS commit_us \
          FROM system.part_log WHERE database = '{database}' AND table = '{TABLE}' \
          AND event_type = 'NewPart' AND error = 0) AS inserts \
         USING (partition, block) ORDER BY stream_seq SETTINGS optimize_use_projections = 0"
    );
    let rows: Vec<Committed> = world.clickhouse.rows(&sql).await;
    rows.into_iter()
        .map(|row| (row.stream_seq, row.commit_us))
        .collect()
}
