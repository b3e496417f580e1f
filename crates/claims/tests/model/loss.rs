//! The log loses its last records, and is rebuilt.
//!
//! Every connection breaks then. What no check can find is assumed away: no try of a process
//! that has ended is under way for a claim that is lost, and each process that lives looks
//! whether the log goes on behind what it has read before any other goes on.

use std::sync::Arc;

use claims::{AllFencesOver, Body, LogError, Nonce, Rebuild, Record, Stored};

use crate::events::Breach;
use crate::explore::Explored;
use crate::world::{CREATED, Link, World, position};

/// The longest fence, in ticks of the model's clock.
const FENCE_LONGEST: i64 = 1;

impl Explored {
    /// Reports whether the log may lose all but its first records.
    pub fn may_lose(world: &World, kept: usize) -> bool {
        let lost = world.log[kept..]
            .iter()
            .flat_map(|record| claims_of(record));
        let orphans = world.flights.iter().filter(|one| one.sender.is_none());
        let orphans: Vec<Nonce> = orphans.map(|flight| flight.claim).collect();
        lost.into_iter().all(|claim| !orphans.contains(&claim))
    }

    /// Reports whether a process may end: not while nobody else knows what it has under way.
    pub fn may_end(world: &World, node: usize) -> bool {
        let mut senders = world.flights.iter().filter_map(|one| one.sender.as_ref());
        world.nodes[node].link != Link::Broken || senders.all(|(sender, _)| *sender != node)
    }

    /// Has the log lose all but its first records. What is on its way to it may arrive.
    pub fn lose(&self, world: &mut World, kept: usize) {
        world.log.truncate(kept);
        world.log_went_back = true;
        for node in 0..world.nodes.len() {
            let outbox = world.nodes[node].outbox.clone();
            world.limbo.extend(outbox);
            if self.breach != Some(Breach::GoesOnUnchecked) {
                let process = world.node(node);
                process.link = Link::Broken;
                process.instance.disconnected();
            }
        }
    }

    /// Has a process look whether the log goes on behind what it has read.
    pub fn resume(&self, world: &mut World, node: usize) {
        let log = world.log_of(node);
        let seq = log.tip().seq;
        let index = seq.checked_sub(world.log_first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let at_tip = index.and_then(|index| world.log.get(index));
        let instance = &world.nodes[node].instance;
        let result = instance.resume(world.log_last(), at_tip.map(|record| record.id));
        match result {
            Ok(()) => world.node(node).link = Link::Resumed,
            Err(error) => self.fail(world, node, error),
        }
    }

    /// Has a process read to the end and check what is stored, or begin at a rebuilt log.
    pub fn join(&self, world: &mut World, node: usize) -> Option<()> {
        if let Link::Lost(lost) = &world.nodes[node].link {
            let known = lost.0.clone();
            if remaining(world, known).is_ok() {
                return None;
            }
            world.node(node).link = Link::Resumed;
        }
        let stored = stored(world);
        // It knows the generation once it has read a record.
        while world.next_record(node).is_some() {
            self.read(world, node);
            if matches!(world.nodes[node].link, Link::Lost(_)) {
                return Some(());
            }
        }
        let id = Nonce(world.fresh(node));
        let connected = world.node(node).instance.connect(id);
        world.append(Arc::new(connected));
        while world.next_record(node).is_some() {
            self.read(world, node);
            if matches!(world.nodes[node].link, Link::Lost(_)) {
                return Some(());
            }
        }
        let last = world.log_last();
        let floor = world.log_of(node).floor(CREATED).unwrap_or_default();
        let stored = stored
            .into_iter()
            .filter(|one| one.position.stream_seq > floor);
        Self::check_stream(world, node);
        let result = world.node(node).instance.join(stored, last);
        match result {
            Ok(_) => world.node(node).link = Link::Joined,
            Err(error) => self.fail(world, node, error),
        }
        Some(())
    }

    /// Has a process that cannot read on start again; unless the log was rebuilt, it announces
    /// that records are lost.
    pub fn fail(&self, world: &mut World, node: usize, error: LogError) {
        let known = world.log_of(node).clone();
        world.has_false_alarm |= !world.log_went_back;
        self.restart(world, node);
        if matches!(error, LogError::Renewed { .. }) {
            world.node(node).link = Link::Resumed;
            return;
        }
        let announced = Record {
            id: Nonce(world.fresh(node)),
            publisher: world.nodes[node].instance.publisher(),
            generation: known.generation(),
            tip: known.tip(),
            done: Vec::new(),
            body: Body::Lost,
        };
        world.append(Arc::new(announced));
        let now = world.now;
        world.node(node).link = Link::Lost(Box::new((known, now)));
    }

    /// Has a process rebuild the log.
    pub fn rebuild(&self, world: &mut World, node: usize) -> Option<()> {
        let Link::Lost(lost) = &world.nodes[node].link else {
            return None;
        };
        let (known, since) = (lost.0.clone(), lost.1);
        let rebuild = remaining(world, known).ok()?;
        let now = match self.breach {
            Some(Breach::RebuildsEarly) => i64::MAX,
            _ => world.now,
        };
        let over: AllFencesOver = rebuild.fences_over(since, FENCE_LONGEST, now, 0)?;
        let last = stored(world).into_iter().map(|one| one.position).max();
        let id = Nonce(world.fresh(node));
        let me = world.nodes[node].instance.publisher();
        let record = rebuild.record(id, me, over, last);
        let seq = world.append(Arc::new(record));
        world.log.drain(..world.log.len() - 1);
        world.log_first = seq;
        world.node(node).link = Link::Resumed;
        Some(())
    }
}

/// What the log still has, beside what a process knows; an error when the log was rebuilt.
fn remaining(world: &World, known: claims::Log) -> Result<Rebuild, LogError> {
    let mut rebuild = Rebuild::new(known);
    for (seq, record) in (world.log_first..).zip(&world.log) {
        rebuild.read(seq, record)?;
    }
    Ok(rebuild)
}

/// Everything that is stored.
fn stored(world: &World) -> Vec<Stored> {
    let one = |message, claim| Stored {
        position: position(message),
        claim,
    };
    let rows = world.rows.iter();
    let letters = world.dead_letters.iter();
    rows.map(|(row, claim)| one(*row, Some(*claim)))
        .chain(letters.map(|letter| one(*letter, None)))
        .collect()
}

/// The claims that a record opens.
fn claims_of(record: &Record) -> Vec<Nonce> {
    let parts = match &record.body {
        Body::Split { parts, .. } | Body::Settled { parts, .. } => parts.as_slice(),
        _ => &[],
    };
    let parts = parts.iter().map(|part| part.id);
    parts.chain(std::iter::once(record.id)).collect()
}
