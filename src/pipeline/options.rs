//! Settings of batches and of the stop.

use std::time::Duration;

use option_kit::{HOUR, KIB, MIB, MINUTE, SECOND, duration, memory, ms, number, options};

/// A block of more rows is split by ClickHouse, and would no longer be atomic.
const ROWS_MAX: usize = 1_000_000;

options! {
    /// Bounds of a batch, which closes at the first one that it meets.
    #[derive(Debug, Clone, PartialEq)]
    pub struct BatchOptions in "batch" {
        /// Rows at which a batch closes.
        max_rows: usize = "20000", number(1..=ROWS_MAX), live;
        /// Encoded bytes at which a batch closes.
        max_bytes: usize = "16MiB", memory(64 * KIB..=256 * MIB), live;
        /// Longest time that a batch collects; it is shorter the fewer signals come.
        max_wait: Duration = "250ms", duration(ms(1)..=10 * MINUTE), live;
        /// Batches a second of one instance; fewer spare ClickHouse work and let a signal wait for
        /// longer.
        max_inserts_per_second: u32 = "250", number(1..=1000), live;
    }
}

options! {
    /// Settings of the stop.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ShutdownOptions in "shutdown" {
        /// Time in which a stop must commit and ack what is held.
        grace: Duration = "25s", duration(SECOND..=HOUR), live;
    }
}
