//! Updates of an entry: signals, each with its place and, while it is among the newest, its JSON.

use std::cmp::Reverse;
use std::collections::HashMap;

use redis::ScriptInvocation;
use store::wallet::{self, LAST_SIGNALS, LONGEST_PAYLOAD, LONGEST_SNAPSHOT, SNAPSHOT};
use store::{self, PageCursor, StoredRow, StoredSignal};
use uuid::Uuid;

use super::connection::Redis;
use super::scripts::keys;

/// Signals of one wallet's longest window that are counted in Redis, about 150 bytes each. A wallet
/// with more is answered out of ClickHouse.
pub(super) const COUNTED_MAX: usize = 5000;
/// Time that signals stay longer than they count, for clocks that differ: milliseconds.
const MARGIN_MS: i64 = 60 * 60 * 1000;
/// Makes the earliest `event_time` that is accepted a positive number.
const TIME_OFFSET_MS: i64 = 1 << 50;

/// An update of one wallet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    /// Times of the first and the last signal: milliseconds since the epoch.
    seen: Option<(i64, i64)>,
    signals: Vec<Member>,
    snapshot: Option<(String, String)>,
}

/// A signal as the sorted set has it.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    event_time_ms: i64,
    name: String,
    /// Empty where it is not among the newest.
    json: String,
}

/// Its position, so that it is there once, then what is counted. All but the type have a fixed
/// width, so that names sort as positions do: 19 digits, 20 digits, 3 digits.
fn name(place: PageCursor, severity: u8, event_type: &str) -> String {
    let PageCursor {
        stream_created_ns,
        stream_seq,
        ..
    } = place;
    format!("{stream_created_ns:019}{stream_seq:020}{severity:03}{event_type}")
}

/// Orders snapshots: the later one has the greater text.
fn order(place: PageCursor) -> String {
    let PageCursor {
        event_time_ms,
        stream_created_ns,
        stream_seq,
    } = place;
    let event_time_ms = event_time_ms + TIME_OFFSET_MS;
    format!("{event_time_ms:017}{stream_created_ns:019}{stream_seq:020}")
}

/// A signal as JSON; empty for one that is none, which the rules of `signal` let nobody insert.
fn json(signal: &StoredSignal) -> String {
    serde_json::to_string(signal).unwrap_or_default()
}

/// Committed rows by the wallet that they name.
pub(super) fn by_wallet(rows: &store::Rows) -> Vec<(&str, Vec<StoredRow<'_>>)> {
    let mut by_wallet: HashMap<&str, Vec<StoredRow<'_>>> = HashMap::new();
    for row in rows.iter().filter(|row| !row.wallet_address.is_empty()) {
        by_wallet.entry(row.wallet_address).or_default().push(row);
    }
    by_wallet.into_iter().collect()
}

impl Update {
    /// Makes the update of committed rows of one wallet. They are sorted, the newest first.
    pub fn of_rows(rows: &mut [StoredRow<'_>]) -> Self {
        rows.sort_unstable_by_key(|row| Reverse(row.place()));
        let seen = rows.last().zip(rows.first());
        let snapshot = rows.iter().find(|row| row.event_type == SNAPSHOT);
        Self {
            seen: seen.map(|(first, last)| (first.event_time_ms, last.event_time_ms)),
            snapshot: snapshot.map(|row| {
                let signal = StoredSignal::from_row(row, LONGEST_SNAPSHOT);
                (order(row.place()), json(&signal))
            }),
            signals: rows
                .iter()
                .enumerate()
                .map(|(index, row)| Member {
                    event_time_ms: row.event_time_ms,
                    name: name(row.place(), row.severity, row.event_type),
                    json: if index < LAST_SIGNALS {
                        json(&StoredSignal::from_row(row, LONGEST_PAYLOAD))
                    } else {
                        String::new()
                    },
                })
                .collect(),
        }
    }

    /// Makes the update of a whole wallet, as the table has it.
    pub fn of_table(rows: &wallet::WalletRows) -> Self {
        let last = rows.last.iter().map(|signal| Member {
            event_time_ms: signal.event_time_ms,
            name: name(signal.place(), signal.severity, &signal.event_type),
            json: json(signal),
        });
        let counted = rows.counted.iter().map(|signal| Member {
            event_time_ms: signal.place.event_time_ms,
            name: name(signal.place, signal.severity, &signal.event_type),
            json: String::new(),
        });
        let snapshot = rows.snapshot.as_ref();
        Self {
            seen: (rows.first_seen_ms <= rows.last_seen_ms)
                .then_some((rows.first_seen_ms, rows.last_seen_ms)),
            signals: last.chain(counted).collect(),
            snapshot: snapshot.map(|signal| (order(signal.place()), json(signal))),
        }
    }

    /// Bytes that Redis is sent, about.
    pub fn bytes(&self) -> usize {
        let signals = self.signals.iter();
        let signals = signals.map(|signal| signal.name.len() + signal.json.len() + 32);
        let snapshot = self.snapshot.as_ref();
        signals.sum::<usize>() + snapshot.map_or(0, |(_, json)| json.len()) + 256
    }

    /// The call that adds it to a wallet's entry; with a nonce, it fills the entry.
    pub fn call<'a>(
        &self,
        redis: &'a Redis,
        address: &str,
        nonce: &str,
        now_ms: i64,
    ) -> ScriptInvocation<'a> {
        let mut call = redis.scripts.feed.prepare_invoke();
        add_keys(&mut call, redis, address);
        let ttl_ms = u64::try_from(redis.ttl.as_millis()).unwrap_or(u64::MAX);
        call.arg(nonce)
            .arg(ttl_ms)
            .arg(wallet::horizon_ms(now_ms) - MARGIN_MS)
            .arg(COUNTED_MAX)
            .arg(LAST_SIGNALS);
        match self.seen {
            Some((first, last)) => call.arg(first).arg(last),
            None => call.arg("").arg(""),
        };
        match &self.snapshot {
            Some((order, json)) => call.arg(order).arg(json),
            None => call.arg("").arg(""),
        };
        for signal in &self.signals {
            call.arg(signal.event_time_ms)
                .arg(&signal.name)
                .arg(&signal.json);
        }
        call
    }
}

/// The call that begins a wallet's entry.
pub(super) fn begin<'a>(redis: &'a Redis, address: &str, wait_ms: u64) -> ScriptInvocation<'a> {
    let mut call = redis.scripts.begin.prepare_invoke();
    add_keys(&mut call, redis, address);
    call.arg(Uuid::new_v4().to_string()).arg(wait_ms);
    call
}

/// The keys of an entry, as each of its scripts has them.
pub(super) fn add_keys(call: &mut ScriptInvocation<'_>, redis: &Redis, address: &str) {
    call.key(keys::state(&redis.prefix))
        .key(keys::wallet(&redis.prefix, address))
        .key(keys::recent(&redis.prefix, address));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_orders_sort_as_positions_do() {
        let at = |stream_created_ns, stream_seq| PageCursor {
            event_time_ms: 0,
            stream_created_ns,
            stream_seq,
        };
        let mut names = [
            name(at(1_764_140_645_123_456_789, 10), 255, "a"),
            name(at(1_764_140_645_123_456_789, 9), 1, "b"),
            name(at(999, u64::MAX), 0, "c"),
        ];
        names.sort();
        assert!(names[0].ends_with("000c"));
        assert!(names[1].ends_with("9001b") && names[2].ends_with("255a"));
        assert_eq!(
            &names[2][39..],
            "255a",
            "as the script that reads it cuts it"
        );
        let place = |event_time_ms, stream_seq| PageCursor {
            event_time_ms,
            stream_created_ns: 1,
            stream_seq,
        };
        assert!(order(place(-2_208_988_800_000, 9)) < order(place(-1, 1)));
        assert!(order(place(-1, 9)) < order(place(0, 1)));
        assert!(order(place(10_413_791_999_999, 9)) < order(place(10_413_791_999_999, 10)));
    }
}
