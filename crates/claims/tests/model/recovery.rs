//! The way out of a state: one process that starts, and nothing else goes wrong.

use claims::{Nonce, Step};

use crate::explore::Explored;
use crate::world::World;

/// Steps after which a state counts as a dead end.
const STEPS_MAX: usize = 400;

/// Reports whether every message in the stream is acked in the end, and what the properties
/// demand still holds, whatever became of what was under way.
pub fn is_possible(model: &Explored, world: &World) -> bool {
    [false, true].into_iter().all(|lands| {
        let mut world = world.clone();
        world.nodes.truncate(1);
        model.restart(&mut world, 0);
        world.left.faults = Default::default();
        for flight in &mut world.flights {
            flight.sender = None;
        }
        if lands {
            let limbo = std::mem::take(&mut world.limbo);
            for record in limbo {
                world.append(record);
            }
            while !world.flights.is_empty() {
                model.judge(&mut world, 0);
            }
        }
        world.limbo.clear();
        world.flights.clear();
        run(model, &mut world)
    })
}

fn run(model: &Explored, world: &mut World) -> bool {
    for _ in 0..STEPS_MAX {
        if world.stream.is_subset(&world.acked) {
            let mut pairs = world.rows.windows(2);
            return pairs.all(|pair| pair[0].0 != pair[1].0)
                && world
                    .rows
                    .iter()
                    .all(|(seq, _)| !world.dead_letters.contains(seq));
        }
        if advance(model, world).is_none() {
            // What waits, waits for a fence.
            model.tick(world);
        }
    }
    false
}

/// Does the next thing that one process can do; `None` when it waits for time.
fn advance(model: &Explored, world: &mut World) -> Option<()> {
    if world.next_record(0).is_some() {
        return Explored::read(world, 0);
    }
    if !world.nodes[0].outbox.is_empty() {
        Explored::store(world, 0, 0, true);
        return Some(());
    }
    while let Some(answer) = world.flights.first().map(|flight| flight.answer) {
        match answer {
            None => model.judge(world, 0),
            Some(answer) => {
                let flight = world.flights.remove(0);
                if let Some((node, attempt)) = flight.sender {
                    world.nodes[node].instance.answered(attempt, answer);
                }
            }
        }
    }
    if Explored::flush(world, 0).is_some() {
        return Some(());
    }
    let acked = Explored::done(world, 0);
    if !acked.is_empty() {
        world.acked.extend(acked);
        return Some(());
    }
    let open: Vec<Nonce> = world.nodes[0]
        .instance
        .log()
        .claims()
        .map(|(id, _)| id)
        .collect();
    for claim in open {
        if model.settle(world, 0, claim).is_some() {
            return Some(());
        }
        if world.nodes[0].instance.step(claim) == Step::TakeOver {
            let id = Nonce(world.fresh(0));
            let record = world.nodes[0].instance.take_over(id, claim)?;
            world.nodes[0].outbox.push(record);
            return Some(());
        }
        if model.step(world, 0, claim).is_some() {
            return Some(());
        }
    }
    let free = Explored::free(world, 0);
    if free.is_empty() {
        return None;
    }
    let block = Explored::block(world, free.into_iter(), false);
    model.claim(world, 0, block)
}
