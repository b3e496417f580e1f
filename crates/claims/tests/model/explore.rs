//! Effects of events on the world.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use crate::bounds::Bounds;
use crate::events::Breach;
use crate::world::{CREATED, Flight, Link, Message, Node, World, position, rows};
use risksignal_claims::{
    Cause, ClaimBlock, Entry, Evidence, Fate, FenceOver, Flaw, FoundRows, InsertAnswer, Instance,
    Nonce, PublisherId, RecordBody, Standing, Step,
};

/// Model to explore.
#[derive(Debug, Clone)]
pub struct Explored {
    /// Size of the world.
    pub bounds: Bounds,
    /// Broken rule of the log or of a process.
    pub flaw: Option<Flaw>,
    /// Broken rule of the surroundings.
    pub breach: Option<Breach>,
    /// True to show for every state that it has a way out.
    pub recovers: bool,
    /// Fingerprints of states known to have one.
    pub recovered: Arc<Mutex<HashSet<u64>>>,
}

impl Explored {
    /// Creates a process of this model.
    pub fn instance(&self, me: PublisherId) -> Instance {
        let window = match self.breach {
            Some(Breach::OverrunsWindow) => usize::MAX,
            _ => self.bounds.window,
        };
        let instance = Instance::new(me, window).break_rule(self.flaw);
        instance.mark_joined()
    }

    /// Returns a block of messages whose fence is over at the next tick.
    pub fn block(
        world: &World,
        node: usize,
        messages: impl Iterator<Item = Message>,
        given_up: bool,
    ) -> ClaimBlock {
        let entry = |(seq, published_ns)| Entry {
            stream_seq: seq,
            published_ns,
            fate: if given_up {
                Fate::DeadLetter(Cause::MaxDeliveries)
            } else if world.is_unfit(node, seq) {
                Fate::DeadLetter(Cause::Invalid)
            } else {
                Fate::Row
            },
        };
        ClaimBlock {
            stream_created_ns: CREATED,
            fence: world.now + 1,
            table: 0,
            entries: messages.map(entry).collect(),
        }
    }

    /// Returns the messages that a process may claim: in the stream, and free by its log.
    pub fn free(&self, world: &World, node: usize) -> Vec<Message> {
        let instance = &world.nodes[node].instance;
        let ignores_doubt = self.breach == Some(Breach::IgnoresDoubt);
        let is_free = |one: &Message| match instance.standing(position(*one)) {
            Standing::Free => true,
            Standing::Doubtful => !world.has_stored(*one) || ignores_doubt,
            _ => false,
        };
        let has_read = instance.log().tip().seq > 0;
        let present = world
            .stream
            .iter()
            .map(|(seq, published)| (*seq, *published));
        present
            .filter(|message| has_read && is_free(message))
            .collect()
    }

    /// Claims a block for a process.
    pub fn claim(&self, world: &mut World, node: usize, block: ClaimBlock) -> Option<()> {
        let id = Nonce(world.fresh(node));
        let record = world.node(node).instance.claim(id, block.clone()).ok()?;
        world.node(node).outbox.push(Arc::new(record));
        if self.breach == Some(Breach::SendsUnread) {
            world.flights.push(Flight {
                claim: id,
                fence: block.fence,
                rows: rows(&block),
                sender: None,
                answer: None,
            });
        }
        Some(())
    }

    /// Takes the next step with a claim; `None` if there is nothing to do.
    pub fn step(&self, world: &mut World, node: usize, claim: Nonce) -> Option<()> {
        let fence = world.now + 1;
        let block = world.nodes[node].instance.log().claim(claim)?.block.clone();
        let step = world.nodes[node].instance.step(claim);
        match step {
            Step::Wait | Step::TakeOver | Step::Settle => return None,
            Step::StoreDeadLetters => {
                for entry in block.entries.iter().filter(|one| one.fate != Fate::Row) {
                    let message = (entry.stream_seq, entry.published_ns);
                    // A message that is gone cannot be stored; its claim is settled.
                    if !world.has(message) && !world.dead_letters.contains(&message) {
                        return None;
                    }
                    world.dead_letters.insert(message);
                    let instance = &mut world.node(node).instance;
                    instance.record_dead_letter(claim, entry.stream_seq);
                }
            }
            Step::Send => {
                let mut rows = rows(&block);
                // A block is built from all of its messages, or not at all.
                let is_buildable = |row: &Message| world.has(*row) && !world.is_unfit(node, row.0);
                if !rows.iter().all(is_buildable) {
                    if self.breach != Some(Breach::SendsRest) {
                        return None;
                    }
                    rows.retain(is_buildable);
                }
                let attempt = world.node(node).instance.send(claim)?;
                world.flights.push(Flight {
                    claim,
                    fence: block.fence,
                    rows,
                    sender: Some((node, attempt)),
                    answer: None,
                });
            }
            Step::Count => {
                let found = FoundRows::new(world.found(claim));
                world.node(node).instance.record_count(claim, found);
            }
            Step::Finish => {
                world.node(node).instance.finish(claim)?;
                if self.breach == Some(Breach::AcksUnlogged) {
                    let entries = block.entries.iter();
                    let messages = entries.map(|entry| (entry.stream_seq, entry.published_ns));
                    world.acked.extend(messages);
                }
            }
            Step::Split if !self.blames_rows(&block) => {
                world.node(node).instance.try_again(claim);
            }
            Step::Split => {
                let [id, one, two] = [(); 3].map(|()| Nonce(world.fresh(node)));
                let mut nonces = [one, two].into_iter();
                let nonce = || nonces.next().unwrap();
                let instance = &mut world.node(node).instance;
                let record = instance.split(id, claim, fence, nonce).ok()??;
                world.node(node).outbox.push(Arc::new(record));
            }
        }
        Some(())
    }

    /// Reports whether a row is at fault, rather than the table. Halving isolates one of several.
    fn blames_rows(&self, block: &ClaimBlock) -> bool {
        let rows = rows(block);
        let is_refused = |(seq, _): &Message| self.bounds.refused >> (seq - 1) & 1 == 1;
        !self.bounds.refuses_all || rows.len() > 1 || rows.iter().any(is_refused)
    }

    /// Settles a claim whose fence is over; `None` if that is impossible now.
    pub fn settle(&self, world: &mut World, node: usize, claim: Nonce) -> Option<()> {
        let open = world.nodes[node].instance.log().claim(claim)?;
        let now = match self.breach {
            Some(Breach::SettlesEarly) => i64::MAX,
            _ => world.now,
        };
        let over = FenceOver::judge(open.block.fence, now, 0)?;
        let found = FoundRows::new(world.found(claim));
        let (mut gone, mut unfit) = (BTreeSet::new(), BTreeSet::new());
        for entry in &open.block.entries {
            if entry.fate == Fate::Row && world.is_unfit(node, entry.stream_seq) {
                unfit.insert(entry.stream_seq);
            }
            let message = (entry.stream_seq, entry.published_ns);
            if !world.has(message) && !world.dead_letters.contains(&message) {
                gone.insert(entry.stream_seq);
            }
        }
        let evidence = Evidence {
            over,
            found: &found,
            gone: &gone,
            unfit: &unfit,
            blames_rows: self.blames_rows(&open.block),
            is_slow: world.nodes[node].slow.contains(&claim),
        };
        let [id, one, two] = [(); 3].map(|()| Nonce(world.fresh(node)));
        let mut nonces = match self.breach {
            Some(Breach::SettlesSameToken) => [claim, claim].into_iter(),
            _ => [one, two].into_iter(),
        };
        let nonce = || nonces.next().unwrap();
        let fence = world.now + 1;
        let instance = &mut world.node(node).instance;
        let record = instance.settle(id, claim, evidence, fence, nonce).ok()??;
        world.node(node).outbox.push(Arc::new(record));
        Some(())
    }

    /// Lets ClickHouse decide on a block.
    pub fn judge(&self, world: &mut World, flight: usize) {
        let Flight {
            claim, fence, rows, ..
        } = world.flights[flight].clone();
        let is_late = world.now >= fence && self.breach != Some(Breach::NoFence);
        let answer = if is_late {
            InsertAnswer::Late
        } else if world.refuses(&rows) {
            InsertAnswer::Refused
        } else if rows.len() > world.left.rows_max && world.left.is_silent {
            if let Some((sender, _)) = &world.flights[flight].sender {
                let sender = *sender;
                world.node(sender).slow.insert(claim);
            }
            InsertAnswer::Unknown
        } else if rows.len() > world.left.rows_max {
            InsertAnswer::TooLarge
        } else {
            world.commit(claim, &rows);
            let exact = !world.left.has_views;
            InsertAnswer::Committed { exact }
        };
        Self::answer(world, flight, answer);
    }

    fn answer(world: &mut World, flight: usize, answer: InsertAnswer) {
        if world.flights[flight].sender.is_none() {
            world.flights.remove(flight);
        } else {
            world.flights[flight].answer = Some(answer);
        }
    }

    /// Restarts a process: a record that it was about to publish may still be stored.
    pub fn restart(&self, world: &mut World, node: usize) {
        let me = match self.breach {
            Some(Breach::RestartIsPublisher) => world.nodes[node].instance.publisher(),
            _ => PublisherId(world.fresh(node)),
        };
        let started = Node {
            instance: self.instance(me),
            outbox: Vec::new(),
            slow: BTreeSet::new(),
            link: Link::Joined,
            issued: world.nodes[node].issued,
        };
        world.limbo.extend(world.nodes[node].outbox.iter().cloned());
        world.nodes[node] = Arc::new(started);
        if world.log_went_back && self.breach != Some(Breach::GoesOnUnchecked) {
            let process = world.node(node);
            process.link = Link::Broken;
            process.instance.note_disconnect();
        } else if (world.stream_backs > 0 || world.left.connects)
            && self.breach != Some(Breach::StaysUnrewound)
        {
            let process = world.node(node);
            process.link = Link::Resumed;
            process.instance.note_disconnect();
        }
        for flight in &mut world.flights {
            if matches!(&flight.sender, Some((sender, _)) if *sender == node) {
                flight.sender = None;
            }
        }
        world
            .flights
            .retain(|flight| flight.sender.is_some() || flight.answer.is_none());
    }

    /// Reads one record in a process.
    pub fn read(&self, world: &mut World, node: usize) -> Option<()> {
        let (seq, record) = world.next_record(node)?;
        let mut record = Arc::clone(record);
        if self.breach == Some(Breach::ForeignByReader) && record.body == RecordBody::Foreign {
            Arc::make_mut(&mut record).id = Nonce(node as u128);
        }
        let now = world.now;
        let process = world.node(node);
        process.outbox.retain(|mine| mine.id != record.id);
        if let Err(error) = process.instance.read(seq, &record) {
            self.fail(world, node, error);
            return Some(());
        }
        process.instance.forget_tokens(now, 0);
        let log = process.instance.log();
        process.slow.retain(|claim| log.claim(*claim).is_some());
        Some(())
    }

    /// Stores a record of an outbox in the log.
    pub fn store(&self, world: &mut World, node: usize, index: usize, is_answered: bool) {
        let record = Arc::clone(&world.nodes[node].outbox[index]);
        let seq = world.append(Arc::clone(&record));
        if self.breach == Some(Breach::TokenByPlace) && matches!(record.body, RecordBody::Claim(_))
        {
            let is_claim =
                |one: &&Arc<risksignal_claims::Record>| matches!(one.body, RecordBody::Claim(_));
            let token = Nonce(world.log.iter().filter(is_claim).count() as u128);
            world.places.entry(record.id).or_insert(token);
        }
        if is_answered {
            let process = world.node(node);
            process.outbox.remove(index);
            if let Err(error) = process.instance.confirm_published(&record, seq) {
                self.fail(world, node, error);
            }
        }
    }

    /// Publishes a process's done claims.
    pub fn flush(world: &mut World, node: usize) -> Option<()> {
        if !world.nodes[node].instance.has_done() {
            return None;
        }
        let id = Nonce(world.fresh(node));
        let record = world.node(node).instance.flush(id)?;
        world.node(node).outbox.push(Arc::new(record));
        Some(())
    }

    /// Returns sequences that need no claim by a process's log: the stream lacks them, or they were
    /// in doubt and are stored.
    pub fn absent(world: &World, node: usize) -> Vec<u64> {
        let instance = &world.nodes[node].instance;
        let needs_none = |seq: &u64| {
            let message = (*seq, world.stream.get(seq).copied().unwrap_or_default());
            let is_gone = !world.has(message);
            match instance.standing(position(message)) {
                Standing::Free => is_gone,
                Standing::Doubtful => is_gone || world.has_stored(message),
                _ => false,
            }
        };
        let has_read = instance.log().tip().seq > 0;
        (1..=world.stream_last)
            .filter(|seq| has_read && needs_none(seq))
            .collect()
    }

    /// Reports a sequence as absent for a process.
    pub fn report_absent(world: &mut World, node: usize, seq: u64) {
        let id = Nonce(world.fresh(node));
        let instance = &mut world.node(node).instance;
        let record = instance.absent(id, CREATED, seq, seq).unwrap();
        world.node(node).outbox.push(Arc::new(record));
    }

    /// Ends the fences so far. The clock then exceeds the longest late commit, so nothing under way
    /// lands any more.
    pub fn tick(&self, world: &mut World) {
        world.now += 2;
        for node in 0..world.nodes.len() {
            let now = world.now;
            world.node(node).instance.forget_tokens(now, 0);
        }
    }

    /// Publishes a snapshot, which replaces all records before it.
    pub fn snapshot(world: &mut World, node: usize) -> Option<()> {
        let id = Nonce(world.fresh(node));
        let record = world.nodes[node].instance.snapshot(id)?;
        let seq = world.append(Arc::new(record));
        world.log.drain(..world.log.len() - 1);
        world.log_first = seq;
        Some(())
    }
}
