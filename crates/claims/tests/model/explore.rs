//! What an event does to the world.

use std::collections::BTreeSet;

use crate::events::Breach;
use crate::world::{Bounds, CREATED, Flight, Node, World};
use claims::{
    Answer, Block, Cause, Entry, Evidence, Fate, FenceOver, Flaw, Found, Instance, Nonce, Position,
    Publisher, Standing, Step,
};

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Explored {
    /// The size of the world.
    pub bounds: Bounds,
    /// A rule of the log or of a process that is broken.
    pub flaw: Option<Flaw>,
    /// A rule of the surroundings that is broken.
    pub breach: Option<Breach>,
    /// Whether every state is shown to have a way out.
    pub recovers: bool,
}

impl Explored {
    /// A process of this model.
    pub fn instance(&self, me: Publisher) -> Instance {
        let window = match self.breach {
            Some(Breach::OverrunsWindow) => usize::MAX,
            _ => self.bounds.window,
        };
        Instance::new(me, window).breaking(self.flaw)
    }

    /// The position of a message.
    pub fn position(seq: u64) -> Position {
        Position {
            stream_created_ns: CREATED,
            stream_seq: seq,
            published_ns: 0,
        }
    }

    /// The block of messages, with a fence that is over at the next tick.
    pub fn block(world: &World, messages: impl Iterator<Item = u64>, given_up: bool) -> Block {
        let entry = |seq| Entry {
            stream_seq: seq,
            published_ns: 0,
            fate: if given_up {
                Fate::DeadLetter(Cause::MaxDeliveries)
            } else if world.is_invalid(seq) {
                Fate::DeadLetter(Cause::Invalid)
            } else {
                Fate::Row
            },
        };
        Block {
            stream_created_ns: CREATED,
            fence: world.now + 1,
            entries: messages.map(entry).collect(),
        }
    }

    /// Messages that a process may claim: in the stream, and free by what it has read. Acked
    /// ones are among them, since an operator may have them delivered again.
    pub fn free(world: &World, node: usize) -> Vec<u64> {
        let log = world.nodes[node].instance.log();
        let is_free = |seq: &u64| log.standing(Self::position(*seq)) == Standing::Free;
        let has_read = log.tip().seq > 0;
        let present = world.stream.iter().copied();
        present.filter(|seq| has_read && is_free(seq)).collect()
    }

    /// Messages that are done by what a process has read, and not acked.
    pub fn done(world: &World, node: usize) -> Vec<u64> {
        let log = world.nodes[node].instance.log();
        let is_done = |seq: &u64| log.standing(Self::position(*seq)) == Standing::Done;
        let open = world.stream.difference(&world.acked).copied();
        open.filter(|seq| log.tip().seq > 0 && is_done(seq))
            .collect()
    }

    /// Has a process claim a block.
    pub fn claim(&self, world: &mut World, node: usize, block: Block) -> Option<()> {
        let id = Nonce(world.fresh(node));
        let record = world.nodes[node].instance.claim(id, block.clone()).ok()?;
        world.nodes[node].outbox.push(record);
        if self.breach == Some(Breach::SendsUnread) {
            world.flights.push(Flight {
                token: id,
                fence: block.fence,
                rows: block.rows(),
                sender: None,
                answer: None,
            });
        }
        Some(())
    }

    /// Takes the next step with a claim; `None` when there is nothing to do.
    pub fn step(&self, world: &mut World, node: usize, claim: Nonce) -> Option<()> {
        let fence = world.now + 1;
        let block = world.nodes[node].instance.log().claim(claim)?.block.clone();
        let step = world.nodes[node].instance.step(claim);
        match step {
            Step::Wait | Step::TakeOver | Step::Settle => return None,
            Step::StoreDeadLetters => {
                for seq in block.dead_letters() {
                    // A message that is gone cannot be stored; its claim is settled.
                    if !world.stream.contains(&seq) && !world.dead_letters.contains(&seq) {
                        return None;
                    }
                    world.dead_letters.insert(seq);
                    let instance = &mut world.nodes[node].instance;
                    instance.stored_dead_letter(claim, seq);
                }
            }
            Step::Send => {
                let mut rows = block.rows();
                // A block is built from its messages: from all of them or not at all.
                if !rows.is_subset(&world.stream) {
                    if self.breach != Some(Breach::SendsRest) {
                        return None;
                    }
                    rows.retain(|seq| world.stream.contains(seq));
                }
                let attempt = world.nodes[node].instance.send(claim)?;
                world.flights.push(Flight {
                    token: claim,
                    fence: block.fence,
                    rows,
                    sender: Some((node, attempt)),
                    answer: None,
                });
            }
            Step::Count => {
                let found = Found::new(world.found(claim));
                world.nodes[node].instance.counted(claim, found);
            }
            Step::Finish => {
                world.nodes[node].instance.finish(claim)?;
                if self.breach == Some(Breach::AcksUnlogged) {
                    let sequences = block.entries.iter().map(|entry| entry.stream_seq);
                    world.acked.extend(sequences);
                }
            }
            Step::Split => {
                let [id, one, two] = [(); 3].map(|()| Nonce(world.fresh(node)));
                let mut nonces = [one, two].into_iter();
                let nonce = || nonces.next().unwrap();
                let instance = &mut world.nodes[node].instance;
                let record = instance.split(id, claim, fence, nonce).ok()??;
                world.nodes[node].outbox.push(record);
            }
        }
        Some(())
    }

    /// Settles a claim whose fence is over; `None` when that cannot be done now.
    pub fn settle(&self, world: &mut World, node: usize, claim: Nonce) -> Option<()> {
        let open = world.nodes[node].instance.log().claim(claim)?;
        let now = match self.breach {
            Some(Breach::SettlesEarly) => i64::MAX,
            _ => world.now,
        };
        let over = FenceOver::judge(open.block.fence, now, 0)?;
        let found = Found::new(world.found(claim));
        let mut gone = BTreeSet::new();
        for entry in &open.block.entries {
            let seq = entry.stream_seq;
            let is_stored = world.stream.contains(&seq) || world.dead_letters.contains(&seq);
            if !is_stored {
                gone.insert(seq);
            }
        }
        let evidence = Evidence {
            over,
            found: &found,
            gone: &gone,
        };
        let [id, one, two] = [(); 3].map(|()| Nonce(world.fresh(node)));
        let mut nonces = match self.breach {
            Some(Breach::SettlesSameToken) => [claim, claim].into_iter(),
            _ => [one, two].into_iter(),
        };
        let nonce = || nonces.next().unwrap();
        let fence = world.now + 1;
        let instance = &mut world.nodes[node].instance;
        let record = instance.settle(id, claim, evidence, fence, nonce).ok()??;
        world.nodes[node].outbox.push(record);
        Some(())
    }

    /// Has ClickHouse judge a block.
    pub fn judge(&self, world: &mut World, flight: usize) {
        let Flight {
            token, fence, rows, ..
        } = world.flights[flight].clone();
        let is_late = world.now >= fence && self.breach != Some(Breach::NoFence);
        let answer = if is_late {
            Answer::Late
        } else if world.refuses(&rows) {
            Answer::Refused
        } else {
            world.commit(token, &rows);
            Answer::Committed { exact: true }
        };
        Self::answer(world, flight, answer);
    }

    fn answer(world: &mut World, flight: usize, answer: Answer) {
        if world.flights[flight].sender.is_none() {
            world.flights.remove(flight);
        } else {
            world.flights[flight].answer = Some(answer);
        }
    }

    /// Starts a process again: what it was about to publish may still be stored.
    pub fn restart(&self, world: &mut World, node: usize) {
        let me = match self.breach {
            Some(Breach::RestartIsPublisher) => world.nodes[node].instance.publisher(),
            _ => Publisher(world.fresh(node)),
        };
        let started = Node {
            instance: self.instance(me),
            outbox: Vec::new(),
            issued: world.nodes[node].issued,
        };
        let ended = std::mem::replace(&mut world.nodes[node], started);
        world.limbo.extend(ended.outbox);
        for flight in &mut world.flights {
            if matches!(&flight.sender, Some((sender, _)) if *sender == node) {
                flight.sender = None;
            }
        }
        world
            .flights
            .retain(|flight| flight.sender.is_some() || flight.answer.is_none());
    }

    /// Has a process read one record.
    pub fn read(world: &mut World, node: usize) -> Option<()> {
        let (seq, record) = world.next_record(node)?;
        let record = record.clone();
        let now = world.now;
        let process = &mut world.nodes[node];
        process.outbox.retain(|mine| mine.id != record.id);
        process.instance.read(seq, &record).ok()?;
        process.instance.forget_tokens(now, 0);
        Some(())
    }

    /// Has the log store a record of an outbox.
    pub fn store(world: &mut World, node: usize, index: usize, is_answered: bool) {
        let record = world.nodes[node].outbox[index].clone();
        let id = record.id;
        let seq = world.append(record);
        if is_answered {
            world.nodes[node].outbox.remove(index);
            world.nodes[node].instance.published(id, seq);
        }
    }

    /// Publishes what a process has done.
    pub fn flush(world: &mut World, node: usize) -> Option<()> {
        let id = Nonce(world.fresh(node));
        let record = world.nodes[node].instance.flush(id)?;
        world.nodes[node].outbox.push(record);
        Some(())
    }

    /// Lets the fences so far end. The clock is far enough then for the longest late commit,
    /// so nothing under way lands any more.
    pub fn tick(&self, world: &mut World) {
        world.now += 2;
        for process in &mut world.nodes {
            process.instance.forget_tokens(world.now, 0);
        }
    }

    /// Publishes a snapshot, which takes the place of all records before it.
    pub fn snapshot(world: &mut World, node: usize) {
        let id = Nonce(world.fresh(node));
        let record = world.nodes[node].instance.snapshot(id);
        let seq = world.append(record.clone());
        world.log = vec![record];
        world.log_first = seq;
    }
}
