//! A row of the table as one hash, which ClickHouse and the oracle compute alike.

use std::hash::Hasher;

/// Part of a signal that its row holds.
pub struct Row {
    pub event_time_ms: i64,
    pub source_id: String,
    pub event_type: String,
    pub payload: String,
    pub severity: u8,
    pub user_id: String,
    pub wallet_address: String,
    pub extra: String,
    pub subject: &'static str,
}

/// The hash of a row in ClickHouse: as [`Row::hash`]. The parts are joined by a character that
/// no signal of a run holds unescaped.
pub const HASH_SQL: &str = "sipHash64(concatWithSeparator('\\x1f', \
    toString(toUnixTimestamp64Milli(event_time)), toString(source_id), toString(event_type), \
    payload, toString(severity), user_id, wallet_address, extra, toString(subject)))";

impl Row {
    /// SipHash-2-4 with a key of zeros.
    pub fn hash(&self) -> u64 {
        let row = [
            &self.event_time_ms.to_string(),
            &self.source_id,
            &self.event_type,
            &self.payload,
            &self.severity.to_string(),
            &self.user_id,
            &self.wallet_address,
            &self.extra,
            self.subject,
        ]
        .join("\x1f");
        // Deprecated in favour of a hasher that may change; this one is fixed, as is wanted here.
        #[allow(deprecated)]
        let mut hasher = std::hash::SipHasher::new();
        hasher.write(row.as_bytes());
        hasher.finish()
    }
}
