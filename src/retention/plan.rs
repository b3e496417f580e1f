//! Rules for purges. Pure.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use jetstream::topology::PURGES;
use jetstream::{Keep, KeepBounds};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Share by which a bound must be exceeded before a purge, so that purges are rare.
const SLACK: u32 = 16;

/// Rule for committed history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The daemon purges messages beyond the bounds.
    Bounded,
    /// `stream.keep` is `all`.
    Everything,
    /// `stream.keep` is unset, and this release did not create the stream.
    #[default]
    NotSet,
    /// Like [`Self::NotSet`], and the stream drops old messages by its own limit.
    OwnLimits,
}

/// Returns the policy of a stream, and its bounds, if any. `limit` is the number of bytes at which
/// the stream or its account rejects more: history uses at most half of that.
pub fn policy(config: &Config, keep: Keep, limit: Option<u64>) -> (Policy, Option<KeepBounds>) {
    let bounds = match keep {
        Keep::All => return (Policy::Everything, None),
        Keep::Bounds(bounds) => bounds,
        Keep::Unset if config.metadata.contains_key(PURGES) => KeepBounds::default(),
        Keep::Unset => {
            let drops = !config.max_age.is_zero() || config.discard == DiscardPolicy::Old;
            let is_bounded = !config.max_age.is_zero()
                || drops && (config.max_bytes > 0 || config.max_messages > 0);
            return match is_bounded {
                true => (Policy::OwnLimits, None),
                false => (Policy::NotSet, None),
            };
        }
    };
    let bytes = limit.map_or(bounds.bytes, |limit| bounds.bytes.min(limit / 2));
    (Policy::Bounded, Some(KeepBounds { bytes, ..bounds }))
}

/// Kind of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// The daemon's own claims log or consumer.
    Own,
    /// Another durable consumer of the stream.
    Consumer,
    /// The claims log of another table.
    ClaimsLog,
}

impl HolderKind {
    /// Names of all kinds.
    pub const NAMES: [&str; 3] = [
        Self::Own.name(),
        Self::Consumer.name(),
        Self::ClaimsLog.name(),
    ];

    /// Returns its name in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Consumer => "consumer",
            Self::ClaimsLog => "claims_log",
        }
    }
}

/// A consumer or claims log whose position limits a purge. Nothing above `floor` is purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Kind of the holder.
    pub kind: HolderKind,
    /// Name of the consumer, or of the log's stream.
    pub name: String,
    /// Last sequence that it no longer needs.
    pub floor: u64,
    /// Bytes above its floor, estimated; 0 if it needs nothing.
    pub bytes: u64,
    /// Age of the first message above its floor.
    pub age_seconds: u64,
    /// True if it holds back more than half of a bound.
    pub holds_back: bool,
}

impl Holder {
    /// Returns the command that removes it, once it is no longer needed.
    pub fn command(&self, stream: &str) -> String {
        match self.kind {
            HolderKind::ClaimsLog => format!("nats stream rm {}", self.name),
            HolderKind::Own | HolderKind::Consumer => {
                format!("nats consumer rm {stream} {}", self.name)
            }
        }
    }

    /// Judges whether it holds back more than half of a bound.
    pub fn judge(&mut self, bounds: KeepBounds) {
        self.holds_back =
            self.bytes > bounds.bytes / 2 || self.age_seconds > bounds.age.as_secs() / 2;
    }
}

/// Returns the last sequence that no holder needs. `None` without holders, or if one needs
/// everything.
pub fn floor(holders: &[Holder]) -> Option<u64> {
    let floor = holders.iter().map(|holder| holder.floor).min()?;
    (floor > 0).then_some(floor)
}

/// Returns the publish time before which messages exceed the bound of age. The newest message sets
/// the time, unless this machine's clock is behind it. So a clock that steps forward purges
/// nothing, and an idle stream keeps its history.
pub fn cutoff(now: OffsetDateTime, newest: OffsetDateTime, age: Duration) -> OffsetDateTime {
    now.min(newest)
        .checked_sub(age.try_into().unwrap_or(time::Duration::MAX))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Reports whether the oldest message exceeds the bound of age, with the slack.
pub fn is_too_old(
    now: OffsetDateTime,
    newest: OffsetDateTime,
    oldest: OffsetDateTime,
    age: Duration,
) -> bool {
    oldest < cutoff(now, newest, age.saturating_add(age / SLACK))
}

/// Returns the bytes by which a stream exceeds its bound; 0 within the slack.
pub fn excess(bytes: u64, bound: u64) -> u64 {
    let excess = bytes.saturating_sub(bound);
    if excess > bound / u64::from(SLACK) {
        excess
    } else {
        0
    }
}

/// Returns the sequences to sample for the mean size of `count` messages from `first` on: evenly
/// spread, including the first.
pub fn spread(first: u64, count: u64, looks: u64) -> impl Iterator<Item = u64> {
    let looks = looks.min(count).max(1);
    (0..looks).map(move |look| {
        let ahead = u128::from(look) * u128::from(count) / u128::from(looks);
        first.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX))
    })
}

/// Returns the number of messages to try next, after `count` messages were estimated at more than
/// `excess`.
pub fn next_estimate(count: u64, estimate: u64, excess: u64) -> u64 {
    let fewer = u128::from(count) * u128::from(excess) / u128::from(estimate.max(1));
    u64::try_from(fewer).unwrap_or(u64::MAX).min(count - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn holder(kind: HolderKind, floor: u64) -> Holder {
        Holder {
            kind,
            name: "one".to_owned(),
            floor,
            bytes: 0,
            age_seconds: 0,
            holds_back: false,
        }
    }

    #[test]
    fn only_a_stream_of_ours_or_a_setting_bounds_history() {
        let bounds = KeepBounds {
            age: DAY,
            bytes: 1000,
        };
        let foreign = Config {
            discard: DiscardPolicy::New,
            ..Config::default()
        };
        let ours = Config {
            metadata: HashMap::from([(PURGES.to_owned(), String::new())]),
            ..foreign.clone()
        };
        let aged = Config {
            max_age: DAY,
            ..foreign.clone()
        };
        let dropping = Config {
            discard: DiscardPolicy::Old,
            max_bytes: 1,
            ..foreign.clone()
        };
        let default = Some(KeepBounds::default());
        for (config, keep, expected) in [
            (&foreign, Keep::Unset, (Policy::NotSet, None)),
            (&aged, Keep::Unset, (Policy::OwnLimits, None)),
            (&dropping, Keep::Unset, (Policy::OwnLimits, None)),
            (&ours, Keep::Unset, (Policy::Bounded, default)),
            (&ours, Keep::All, (Policy::Everything, None)),
            (
                &foreign,
                Keep::Bounds(bounds),
                (Policy::Bounded, Some(bounds)),
            ),
        ] {
            assert_eq!(policy(config, keep, None), expected);
        }
        let (_, small) = policy(&ours, Keep::Unset, Some(1 << 20));
        assert_eq!(small.map(|bounds| bounds.bytes), Some(1 << 19));
    }

    #[test]
    fn a_clock_that_steps_forward_makes_nothing_old() {
        let newest = OffsetDateTime::UNIX_EPOCH + 100 * DAY;
        let (old, young) = (newest - 8 * DAY, newest - 6 * DAY);
        for now in [newest, newest + 9999 * DAY] {
            assert!(is_too_old(now, newest, old, 7 * DAY));
            assert!(!is_too_old(now, newest, young, 7 * DAY));
        }
        // A server's clock that stepped makes its newest message young, and none old.
        assert!(!is_too_old(newest, newest + 9999 * DAY, young, 7 * DAY));
        assert!(!is_too_old(newest, newest, old, Duration::MAX));
    }

    #[test]
    fn a_holder_is_named_with_its_command() {
        let mut consumer = holder(HolderKind::Consumer, 5);
        assert_eq!(consumer.command("S"), "nats consumer rm S one");
        assert_eq!(
            holder(HolderKind::ClaimsLog, 5).command("S"),
            "nats stream rm one"
        );
        let bounds = KeepBounds {
            age: DAY,
            bytes: 1000,
        };
        for (bytes, age_seconds, holds_back) in [(500, 0, false), (501, 0, true), (0, 43_201, true)]
        {
            (consumer.bytes, consumer.age_seconds) = (bytes, age_seconds);
            consumer.judge(bounds);
            assert_eq!(consumer.holds_back, holds_back);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_anybody_needs_is_below_the_floor(
            floors in proptest::collection::vec(0_u64..1000, 0..8),
        ) {
            let holders: Vec<Holder> =
                floors.iter().map(|floor| holder(HolderKind::Consumer, *floor)).collect();
            match floor(&holders) {
                Some(found) => {
                    prop_assert!(found > 0 && floors.iter().all(|floor| found <= *floor));
                }
                None => prop_assert!(floors.is_empty() || floors.contains(&0)),
            }
        }

        #[test]
        fn looks_are_within_the_range(first in 1_u64..=u64::MAX / 2, count in 1_u64..1_000_000, looks in 1_u64..64) {
            let spread: Vec<u64> = spread(first, count, looks).collect();
            prop_assert_eq!(spread[0], first);
            prop_assert!(spread.len() as u64 <= looks);
            prop_assert!(spread.iter().all(|seq| (first..first + count).contains(seq)));
        }

        #[test]
        fn an_estimate_that_is_too_high_ends_in_fewer(
            count in 1_u64..=u64::MAX, estimate in 1_u64..=u64::MAX, excess in 0_u64..=u64::MAX,
        ) {
            prop_assert!(next_estimate(count, estimate, excess) < count);
        }
    }
}
