//! The log loses its last records, and is rebuilt.
//!
//! Every connection breaks then. The model excludes two cases that no check can detect: an ended
//! process has no attempt of a lost claim under way, and each live process checks that the log
//! continues after its tip before any other one continues.

use std::sync::Arc;

use risksignal_claims::{
    AllFencesOver, LogReadError, Nonce, Rebuild, Record, RecordBody, StoredEntry,
};

use crate::events::Breach;
use crate::explore::Explored;
use crate::world::{CREATED, Link, World, position};

/// Longest fence, in ticks of the model's clock.
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

    /// Reports whether a process may end: not while only this process knows of its attempts.
    pub fn may_end(world: &World, node: usize) -> bool {
        let mut senders = world.flights.iter().filter_map(|one| one.sender.as_ref());
        world.nodes[node].link != Link::Broken || senders.all(|(sender, _)| *sender != node)
    }

    /// Removes all but the first records of the log. Records on their way to it may arrive.
    pub fn lose(&self, world: &mut World, kept: usize) {
        world.log.truncate(kept);
        world.log_went_back = true;
        for node in 0..world.nodes.len() {
            let outbox = world.nodes[node].outbox.clone();
            world.limbo.extend(outbox);
            if self.breach != Some(Breach::GoesOnUnchecked) {
                let process = world.node(node);
                process.link = Link::Broken;
                process.instance.note_disconnect();
            }
        }
    }

    /// Checks for a process that the log continues after its tip.
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

    /// Reads to the end in a process and checks the stored entries, or begins at a rebuilt log.
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

    /// Restarts a process that cannot read any further. Unless the log was rebuilt, it announces
    /// that records are lost.
    pub fn fail(&self, world: &mut World, node: usize, error: LogReadError) {
        let known = world.log_of(node).clone();
        world.has_false_alarm |= !world.log_went_back;
        self.restart(world, node);
        if matches!(error, LogReadError::Renewed { .. }) {
            world.node(node).link = Link::Resumed;
            return;
        }
        let announced = Record {
            id: Nonce(world.fresh(node)),
            publisher: world.nodes[node].instance.publisher(),
            generation: known.generation(),
            tip: known.tip(),
            done: Vec::new(),
            body: RecordBody::Lost,
        };
        world.append(Arc::new(announced));
        let now = world.now;
        world.node(node).link = Link::Lost(Box::new((known, now)));
    }

    /// Rebuilds the log in a process.
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

/// Returns the remaining log together with a process's knowledge; an error if the log was rebuilt.
fn remaining(world: &World, known: risksignal_claims::Log) -> Result<Rebuild, LogReadError> {
    let mut rebuild = Rebuild::new(known);
    for (seq, record) in (world.log_first..).zip(&world.log) {
        rebuild.read(seq, record)?;
    }
    Ok(rebuild)
}

/// Returns all stored entries.
fn stored(world: &World) -> Vec<StoredEntry> {
    let one = |message, claim| StoredEntry {
        position: position(message),
        claim,
    };
    let rows = world.rows.iter();
    let letters = world.dead_letters.iter();
    rows.map(|(row, claim)| one(*row, Some(*claim)))
        .chain(letters.map(|letter| one(*letter, None)))
        .collect()
}

/// Returns the claims that a record opens.
fn claims_of(record: &Record) -> Vec<Nonce> {
    let parts = match &record.body {
        RecordBody::Split { parts, .. } | RecordBody::Settled { parts, .. } => parts.as_slice(),
        _ => &[],
    };
    let parts = parts.iter().map(|part| part.id);
    parts.chain(std::iter::once(record.id)).collect()
}
