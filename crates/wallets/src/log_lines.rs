//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const KEEPING: &str = "Keeping the cache in Redis";
pub const FRESH: &str = "The cache is fresh again";
pub const STALE: &str = "The cache is stale; clients are answered out of ClickHouse";
pub const STALE_BY_ANOTHER: &str = "The cache is stale: another daemon that keeps it is not heard; \
    it is given up after 15 minutes, or by `risksignal cache rebuild`";
