//! Acks that stand for all messages before their own (`ack_policy` is `all`). Pure.
//!
//! Such an ack must cover nothing but messages that the log says are done, no matter which
//! instance holds them. So the reply that is acked is the highest one held at or below the log's
//! floor. A reply is always one that the server sent: one that is made up may have a consumer
//! sequence above the server's, which then ignores all that follow.
//!
//! The server ignores an ack with a consumer sequence below that of an earlier ack, as it may be
//! after a redelivery. It does not say so: the messages are delivered again, the log says that
//! they are done, and they are acked under their new consumer sequence.

use std::collections::BTreeMap;

use bytes::Bytes;
use jetstream::Subjects;

/// Replies to messages that the log says are done, until an ack covers them.
#[derive(Debug, Default)]
pub struct HeldReplies {
    /// Runs of sequences without a gap, by their last one. The floor passes a run as a whole, so
    /// the other replies are of no use.
    runs: BTreeMap<u64, Run>,
}

#[derive(Debug)]
struct Run {
    first: u64,
    reply: Bytes,
}

impl HeldReplies {
    /// Reports whether there is nothing to ack.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Holds the reply to the message at `stream_seq`. Of two for one message the second counts,
    /// which has the higher consumer sequence.
    pub fn hold(&mut self, stream_seq: u64, reply: &[u8]) {
        if let Some((&last, run)) = self.runs.range_mut(stream_seq..).next()
            && run.first <= stream_seq
        {
            if last == stream_seq {
                run.reply = Bytes::copy_from_slice(reply);
            }
            return;
        }
        let mut run = Run {
            first: stream_seq,
            // A copy: the reply is a part of the buffer that its message came in.
            reply: Bytes::copy_from_slice(reply),
        };
        let mut last = stream_seq;
        if let Some(before) = stream_seq
            .checked_sub(1)
            .and_then(|seq| self.runs.remove(&seq))
        {
            run.first = before.first;
        }
        let behind = self.runs.range(stream_seq..).next();
        if let Some(next) = behind
            .filter(|(_, next)| stream_seq.checked_add(1) == Some(next.first))
            .map(|(&next, _)| next)
            && let Some(behind) = self.runs.remove(&next)
        {
            (last, run.reply) = (next, behind.reply);
        }
        self.runs.insert(last, run);
    }

    /// Takes the reply to ack now that all up to `floor` is done, with all that it covers.
    pub fn due(&mut self, floor: u64) -> Option<Bytes> {
        let above = match floor.checked_add(1) {
            Some(above) => self.runs.split_off(&above),
            None => BTreeMap::new(),
        };
        let covered = std::mem::replace(&mut self.runs, above);
        debug_assert!(
            covered.keys().all(|last| *last <= floor),
            "no ack above the floor"
        );
        covered.into_values().next_back().map(|run| run.reply)
    }

    /// Takes all replies, to have their messages delivered again.
    pub fn take(&mut self) -> Subjects {
        let runs = std::mem::take(&mut self.runs);
        runs.into_values().map(|run| run.reply).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn held(sequences: &[u64]) -> HeldReplies {
        let mut held = HeldReplies::default();
        for seq in sequences {
            held.hold(*seq, seq.to_string().as_bytes());
        }
        held
    }

    #[test]
    fn the_highest_reply_up_to_the_floor_is_acked_once() {
        let mut held = held(&[3, 5, 4, 9]);
        assert_eq!(held.due(2), None);
        assert_eq!(held.due(7), Some("5".into()));
        assert_eq!(held.due(8), None);
        assert_eq!(held.due(u64::MAX), Some("9".into()));
        assert!(held.is_empty());
    }

    #[test]
    fn the_newer_of_two_replies_counts() {
        let mut held = held(&[1, 2]);
        held.hold(2, b"again");
        assert_eq!(held.due(2), Some("again".into()));
    }

    #[test]
    fn the_last_of_each_run_is_given_back() {
        let mut held = held(&[8, 1, 3, 2, 9]);
        assert_eq!(held.take(), Subjects::from_iter(["3", "9"]));
        assert!(held.is_empty());
    }

    proptest! {
        /// While the floor rises over what is done, the ack is the highest held reply at or
        /// below it, whatever the order in which messages come.
        #[test]
        fn an_ack_never_goes_above_the_floor(
            steps in prop::collection::vec((1_u64..60, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let (mut held, mut mine, mut done) = (HeldReplies::default(), BTreeSet::new(), BTreeSet::new());
            let mut acked = 0;
            for (seq, is_mine, looks) in steps {
                done.insert(seq);
                if is_mine && seq > acked {
                    mine.insert(seq);
                    held.hold(seq, seq.to_string().as_bytes());
                }
                if !looks {
                    continue;
                }
                let floor = (1..).take_while(|seq| done.contains(seq)).last().unwrap_or(0);
                let due: Option<u64> = held.due(floor).map(|reply| str::from_utf8(&reply).unwrap().parse().unwrap());
                prop_assert_eq!(due, mine.range(..=floor).next_back().copied());
                mine = mine.split_off(&(floor + 1));
                acked = acked.max(due.unwrap_or(0));
            }
        }
    }
}
