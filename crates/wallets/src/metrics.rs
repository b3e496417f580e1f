//! Metrics of the cache.

use metric_kit::{IntCounter, IntCounterVec, IntGauge, metrics};

metrics! {
    /// The cache of wallets.
    pub struct CacheMetrics {
        /// 1 while this daemon feeds Redis all that it commits, and no other daemon is missed.
        cache_fresh: IntGauge;
        /// Committed signals with a wallet, by what became of them in Redis: fed, absent (the
        /// wallet is brought from ClickHouse), busy (more signals than Redis keeps); and lost, with
        /// or without a wallet, while Redis was away or slow.
        cache_signals_total: IntCounterVec, label "result" in &["fed", "absent", "busy", "lost"];
        /// Wallets that were brought to Redis from ClickHouse in the background.
        cache_wallets_filled_total: IntCounter;
        /// Wallets that clients asked for, by what Redis knew: hit, or ClickHouse was asked: miss,
        /// busy (more signals than Redis keeps), stale, away.
        cache_reads_total: IntCounterVec, label "result" in &["hit", "miss", "busy", "stale", "away"];
    }
}

impl CacheMetrics {
    /// Counts committed signals by their result in Redis.
    pub(super) fn signals(&self, result: &str, count: usize) {
        let signals = self.cache_signals_total.with_label_values(&[result]);
        signals.inc_by(count as u64);
    }

    /// Counts a read of a wallet by Redis' answer.
    pub fn read(&self, result: &str) {
        self.cache_reads_total.with_label_values(&[result]).inc();
    }
}
