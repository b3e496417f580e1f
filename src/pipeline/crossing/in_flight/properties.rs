//! Held messages, against a model with an entry for each message.

use std::collections::BTreeMap;
use std::mem::take;

use futures_util::FutureExt;
use jetstream::AckPolicy;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

const MAX: (usize, usize) = (400, 12_000);

struct Pair {
    in_flight: &'static InFlight,
    leases: Vec<(u64, Lease)>,
    /// Source, bytes and time of the last sign of each message that is held, by its sequence.
    model: BTreeMap<u64, (Option<SignalSource>, usize, Instant)>,
    spared: BTreeSet<u64>,
    given_back: Subjects,
    next: u64,
}

/// An advisory has none.
fn source(of: usize) -> Option<SignalSource> {
    (!of.is_multiple_of(3)).then(|| SignalSource::test(of as u64 % 3, AckPolicy::Explicit))
}

fn reply(seq: u64) -> String {
    format!("$JS.ACK.{}.c.1.{seq}.1.5.0", "S".repeat(seq as usize % 200))
}

fn sorted(all: &Subjects) -> BTreeSet<&[u8]> {
    let sorted: BTreeSet<_> = all.iter().collect();
    assert_eq!(sorted.len(), all.len(), "each comes once");
    sorted
}

impl Pair {
    /// Holds two chunks, which may be empty or have too few bytes left.
    fn hold(&mut self, count: usize, each: usize, of: usize) {
        let (mut left, free) = (count * 40, self.free());
        let room = self.in_flight.reserve(count, left).now_or_never();
        assert_eq!(room.is_some(), free.0 >= count && free.1 >= left);
        let Some(mut room) = room else { return };
        for (count, source) in [(count / 3, source(of)), (count / 2, source(of / 3))] {
            let mut holding = room.holding(source, 20);
            for seq in self.next..self.next + count as u64 {
                self.leases
                    .push((seq, holding.lease(reply(seq).as_bytes(), each)));
                let bytes = each.min(left);
                self.model.insert(seq, (source, bytes, Instant::now()));
                left -= bytes;
            }
            self.next += count as u64;
        }
    }

    fn settle(&mut self, count: usize) {
        let start = self.leases.len().saturating_sub(count);
        let (seqs, leases): (Vec<_>, _) = self.leases.drain(start..).unzip();
        let mut settled = Vec::new();
        for run in self.in_flight.settle(leases) {
            settled.extend(run.subjects.iter().map(|one| (run.source, one.to_vec())));
        }
        let entry = |seq: &u64| (self.model.remove(seq).unwrap().0, reply(*seq).into());
        assert_eq!(settled, seqs.iter().map(entry).collect::<Vec<_>>());
    }

    async fn step(&mut self, (op, count, at): (u8, usize, usize)) {
        match (op, at.checked_rem(self.leases.len())) {
            (0 | 1, _) => self.hold(count, at % 90, at),
            (2, _) => self.settle(count),
            (3, _) => {
                tokio::time::advance(Duration::from_secs(at as u64 % 4)).await;
                let (age, mut due) = (Duration::from_secs(count as u64 % 8), Subjects::default());
                for (seq, (.., renewed_at)) in &mut self.model {
                    if renewed_at.elapsed() >= age {
                        *renewed_at = Instant::now();
                        due.push(reply(*seq).as_bytes());
                    }
                }
                assert_eq!(sorted(&self.in_flight.due(age)), sorted(&due));
            }
            (4, _) => {
                let taken = self.in_flight.given_back().now_or_never();
                assert_eq!(taken.unwrap_or_default(), take(&mut self.given_back));
            }
            (5, _) => {
                let mut all = take(&mut self.given_back);
                let held = self.model.iter().filter(|(_, one)| one.0.is_some());
                all.extend(held.map(|(seq, _)| reply(*seq)));
                assert_eq!(sorted(&self.in_flight.give_back_all()), sorted(&all));
            }
            (6 | 7, Some(place)) => {
                let (seq, _dropped) = self.leases.swap_remove(place);
                let source = self.model.remove(&seq).unwrap().0;
                self.given_back.extend(source.map(|_| reply(seq)));
            }
            (8 | 9, Some(place)) => self.leases[place].1.detach(),
            (10, Some(place)) => {
                self.leases[place].1.spare();
                self.spared.insert(self.leases[place].0);
            }
            _ => {}
        }
    }

    fn free(&self) -> (usize, usize) {
        let taken = self
            .model
            .iter()
            .filter(|(seq, _)| !self.spared.contains(seq));
        taken.fold(MAX, |free, (_, one)| (free.0 - 1, free.1 - one.1))
    }

    fn check(&self) {
        assert_eq!(self.in_flight.lock().held.free(), self.free());
        assert_eq!(self.in_flight.messages(), self.model.len());
        let bytes: usize = self.model.values().map(|one| one.1).sum();
        assert_eq!(self.in_flight.bytes(), bytes);
        let of_model = |(seq, lease): &(u64, Lease)| lease.source() == self.model[seq].0;
        assert!(self.leases.iter().all(of_model));
        let held = self.model.range(50..=1_000);
        let held = held.filter_map(|(seq, one)| one.0.map(|_| *seq));
        assert_eq!(self.in_flight.held_within(1, &(50..=1_000)), held.collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn each_message_is_held_until_it_ends_and_its_room_returns_once(
        ops in prop::collection::vec((0..11_u8, 0..=200_usize, 0..10_000_usize), 1..100)
    ) {
        let in_flight = InFlight::new(MAX.0, MAX.1);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let (leases, model, spared, given_back) = Default::default();
            let mut pair = Pair { in_flight, leases, model, spared, given_back, next: 1 };
            for op in ops {
                pair.step(op).await;
                pair.check();
            }
        });
        assert_eq!(in_flight.lock().held.free(), MAX);
        assert_eq!(in_flight.lock().held.chunks().count(), 0);
    }
}
