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

use jetstream::Subjects;

/// Replies to messages that the log says are done, until an ack covers them.
#[derive(Debug, Default)]
pub struct HeldReplies {
    /// Runs of sequences without a gap, by their first one. The floor passes a run as a whole, so
    /// the other replies are of no use.
    runs: BTreeMap<u64, Run>,
}

/// A run up to `last`, and the reply to that message.
#[derive(Debug)]
struct Run {
    last: u64,
    reply: Vec<u8>,
}

impl Run {
    fn end_at(&mut self, last: u64, reply: &[u8]) {
        self.last = last;
        self.reply.clear();
        self.reply.extend_from_slice(reply);
    }
}

impl HeldReplies {
    /// Reports whether there is nothing to ack.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Holds the reply to the message at `stream_seq`. Of two for one message the second counts,
    /// which has the higher consumer sequence.
    pub fn hold(&mut self, stream_seq: u64, reply: &[u8]) {
        let next = stream_seq.checked_add(1);
        let behind = next.filter(|next| self.runs.contains_key(next));
        let before = self.runs.range_mut(..=stream_seq).next_back();
        match before.map(|(_, run)| run) {
            Some(run) if run.last > stream_seq => return,
            // Most messages come in order.
            Some(run) if run.last == stream_seq || run.last.checked_add(1) == Some(stream_seq) => {
                run.end_at(stream_seq, reply);
            }
            _ => {
                let mut run = Run {
                    last: stream_seq,
                    reply: Vec::new(),
                };
                run.end_at(stream_seq, reply);
                self.runs.insert(stream_seq, run);
            }
        }
        if let Some(behind) = behind.and_then(|next| self.runs.remove(&next))
            && let Some((_, run)) = self.runs.range_mut(..=stream_seq).next_back()
        {
            *run = behind;
        }
    }

    /// Takes the reply to ack now that all up to `floor` is done, with all that it covers.
    pub fn due(&mut self, floor: u64) -> Option<Vec<u8>> {
        let mut due = None;
        while let Some(run) = self.runs.first_entry()
            && run.get().last <= floor
        {
            due = Some(run.remove().reply);
        }
        due
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
