//! The way out of a state: one process continues or restarts, and no further fault happens.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};

use risksignal_claims::{Nonce, Standing, Step};

use crate::explore::Explored;
use crate::world::{Link, World, position};

/// Steps after which a state counts as a dead end.
const STEPS_MAX: usize = 150;

/// Reports whether everything is done in the end, and the properties still hold, whichever process
/// continues and whatever happened to the attempts under way.
pub fn is_possible(model: &Explored, world: &World) -> bool {
    let restarts = [false, true].into_iter();
    let ways = restarts.flat_map(|restarts| [(restarts, false), (restarts, true)]);
    let mut ways = ways.map(|(restarts, lands)| survivor(model, world, restarts, lands));
    ways.all(|mut world| run(model, &mut world))
}

/// Returns the world with one process, which continues or restarts; attempts of others land or are
/// gone.
fn survivor(model: &Explored, world: &World, restarts: bool, lands: bool) -> World {
    let mut world = world.clone();
    world.left.faults = Default::default();
    (world.left.claims, world.left.ticks) = (0, 0);
    // Only the operator repairs a table that rejects every row.
    world.left.refuses_all = false;
    let others = world.nodes.split_off(1);
    let records = others.iter().flat_map(|node| node.outbox.iter().cloned());
    world.limbo.extend(records);
    if restarts {
        model.restart(&mut world, 0);
    }
    for flight in &mut world.flights {
        flight.sender.take_if(|(node, _)| *node != 0);
    }
    let orphans = |world: &World| world.flights.iter().position(|one| one.sender.is_none());
    let limbo = std::mem::take(&mut world.limbo);
    if lands {
        for record in limbo {
            world.append(record);
        }
        while let Some(flight) = orphans(&world) {
            if world.flights[flight].answer.is_some() {
                world.flights.remove(flight);
            } else {
                model.judge(&mut world, flight);
            }
        }
    } else {
        world.flights.retain(|flight| flight.sender.is_some());
    }
    world
}

fn run(model: &Explored, world: &mut World) -> bool {
    let mut passed = Vec::new();
    for _ in 0..STEPS_MAX {
        let fingerprint = BuildHasherDefault::<DefaultHasher>::default().hash_one(&*world);
        if contains(&model.recovered, fingerprint) || is_done(world) {
            let mut recovered = lock(&model.recovered);
            recovered.extend(passed);
            return true;
        }
        if !world.is_exact() {
            return false;
        }
        // Waiting or repeating steps end once a fence is over.
        if passed.contains(&fingerprint) || advance(model, world).is_none() {
            model.tick(world);
        }
        passed.push(fingerprint);
    }
    false
}

/// Reports whether every message is done and stored, and no work is left.
fn is_done(world: &World) -> bool {
    let instance = &world.nodes[0].instance;
    let log = instance.log();
    let is_done = |(seq, published): (&u64, &i64)| {
        let message = (*seq, *published);
        instance.standing(position(message)) == Standing::Done && world.is_stored(message)
    };
    log.tip().seq == world.log_last()
        && log.claims().next().is_none()
        && log.floor(crate::world::CREATED) >= Some(world.stream_last)
        && world.stream.iter().all(is_done)
        && world.is_exact()
}

/// Takes the next step that one process can take; `None` if it waits for time.
fn advance(model: &Explored, world: &mut World) -> Option<()> {
    match world.nodes[0].link {
        Link::Joined => {}
        Link::Broken => {
            model.resume(world, 0);
            return Some(());
        }
        Link::Resumed => return model.join(world, 0),
        Link::Lost(_) => {
            return model.join(world, 0).or_else(|| model.rebuild(world, 0));
        }
    }
    if world.next_record(0).is_some() {
        return model.read(world, 0);
    }
    if !world.nodes[0].outbox.is_empty() {
        model.store(world, 0, 0, true);
        return Some(());
    }
    while let Some(answer) = world.flights.first().map(|flight| flight.answer) {
        match answer {
            None => model.judge(world, 0),
            Some(answer) => {
                let flight = world.flights.remove(0);
                if let Some((node, attempt)) = flight.sender {
                    world.node(node).instance.record_answer(attempt, answer);
                }
            }
        }
    }
    if Explored::flush(world, 0).is_some() {
        return Some(());
    }
    if model.may_rewind(world, 0) && model.rewind(world, 0).is_some() {
        return Some(());
    }
    if model.may_reopen(world) && model.reopen(world, 0).is_some() {
        return Some(());
    }
    if let Some(seq) = Explored::absent(world, 0).first() {
        Explored::report_absent(world, 0, *seq);
        return Some(());
    }
    let log = world.log_of(0);
    let open: Vec<Nonce> = log.claims().map(|(id, _)| id).collect();
    for claim in open {
        if model.settle(world, 0, claim).is_some() {
            return Some(());
        }
        if world.nodes[0].instance.step(claim) == Step::TakeOver {
            let id = Nonce(world.fresh(0));
            let record = world.node(0).instance.take_over(id, claim)?;
            world.node(0).outbox.push(Arc::new(record));
            return Some(());
        }
        if model.step(world, 0, claim).is_some() {
            return Some(());
        }
    }
    let free = model.free(world, 0);
    if free.is_empty() {
        return None;
    }
    let block = Explored::block(world, 0, free.into_iter(), false);
    model.claim(world, 0, block)
}

fn contains(known: &Mutex<std::collections::HashSet<u64>>, fingerprint: u64) -> bool {
    lock(known).contains(&fingerprint)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
