//! Cost of the claims log: its records. The CPU that they cost the broker is in the broker's.

use super::report::{Metric, Report};
use super::world::{Target, World};

const RECORDS: Metric = Metric::new("records in the claims log", "/million", 0);
const BYTES: Metric = Metric::new("bytes in the claims log", "MB/million", 2);
const RECORDS_AT: Metric = Metric::new("records in the claims log at {}/s", "1/s", 1);
const BYTES_AT: Metric = Metric::new("bytes in the claims log at {}/s", "kB/s", 1);

/// Records that a run has appended.
#[derive(Debug, Clone, Copy)]
pub struct ClaimsLog {
    pub records: f64,
    /// With JetStream's own of each record. A snapshot purges what came before it: where there
    /// was one, those that are left stand for all.
    pub bytes: f64,
}

impl ClaimsLog {
    /// The log of a run, before it is deleted.
    pub async fn of(world: &World, target: &Target) -> Option<Self> {
        let stream = world.jetstream.get_stream(target.claims_log()).await.ok()?;
        let state = &stream.cached_info().state;
        let records = state.last_sequence as f64;
        let bytes = state.bytes as f64 / state.messages.max(1) as f64 * records;
        Some(Self { records, bytes })
    }

    /// Notes it for each million of signals.
    pub fn record(self, label: &str, count: u64, report: &mut Report) {
        let millions = count as f64 / 1e6;
        report.add(label, RECORDS, self.records / millions);
        report.add(label, BYTES, self.bytes / 1e6 / millions);
    }

    /// Notes it for each second at a rate.
    pub fn record_at(self, label: &str, rate: u64, seconds: f64, report: &mut Report) {
        report.add(label, RECORDS_AT.at(rate), self.records / seconds);
        report.add(label, BYTES_AT.at(rate), self.bytes / 1e3 / seconds);
    }
}
