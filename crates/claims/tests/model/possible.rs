//! Possible events of a state, and invariants of every state.

use std::sync::Arc;

use risksignal_claims::{Standing, Step};
use stateright::{Model, Property};

use crate::events::{Breach, Event};
use crate::explore::Explored;
use crate::recovery;
use crate::world::{Link, Node, World, position};

impl Explored {
    fn node_events(&self, world: &World, node: usize, events: &mut Vec<Event>) {
        let faults = &world.left.faults;
        let process = &world.nodes[node];
        if faults.any > 0 && faults.crashes > 0 && Self::may_end(world, node) {
            events.push(Event::Restart { node });
        }
        match process.link {
            Link::Joined => {}
            Link::Broken => return events.push(Event::Resume { node }),
            Link::Resumed => return events.push(Event::Join { node }),
            Link::Lost(_) => {
                return events.extend([Event::Join { node }, Event::Rebuild { node }]);
            }
        }
        if world.next_record(node).is_some() {
            events.push(Event::Read { node });
        }
        for index in 0..process.outbox.len() {
            events.push(Event::Store {
                node,
                index,
                is_answered: true,
            });
            if faults.any > 0 && faults.repeats > 0 {
                events.push(Event::Store {
                    node,
                    index,
                    is_answered: false,
                });
            }
        }
        let free = self.free(world, node);
        // A process has one claim on its way at a time.
        if world.left.claims > 0 && process.outbox.is_empty() {
            for bits in 1..1u64 << free.len() {
                let messages = free.iter().enumerate();
                let messages = messages.filter(|(index, _)| bits >> index & 1 == 1);
                let messages = messages.fold(0, |all, (_, (seq, _))| all | 1 << (seq - 1));
                events.push(Event::Claim { node, messages });
            }
            if faults.any > 0 && faults.exhausted > 0 {
                let given_up = free.iter().map(|&(seq, _)| Event::GiveUp { node, seq });
                events.extend(given_up);
            }
        }
        if process.instance.has_done() {
            events.push(Event::Flush { node });
        }
        for (claim, open) in process.instance.log().claims() {
            match process.instance.step(claim) {
                Step::Wait => {}
                Step::TakeOver if self.breach == Some(Breach::SendsUnannounced) => {
                    events.push(Event::Step { node, claim });
                }
                Step::TakeOver if faults.any > 0 && faults.takeovers > 0 => {
                    events.push(Event::TakeOver { node, claim });
                }
                Step::TakeOver | Step::Settle => {}
                step => {
                    events.push(Event::Step { node, claim });
                    if step == Step::Split && faults.any > 0 && faults.answers > 0 {
                        events.push(Event::TryAgain { node, claim });
                    }
                }
            }
            if world.now > open.block.fence || self.breach == Some(Breach::SettlesEarly) {
                events.push(Event::Settle { node, claim });
            }
        }
        if process.outbox.is_empty() {
            if self.may_rewind(world, node) {
                events.push(Event::Rewind { node });
            }
            if self.may_reopen(world) {
                events.push(Event::Reopen { node });
            }
            // Once, or the world would have no end.
            let is_at_end = world.next_record(node).is_none();
            let absent = Self::absent(world, node).into_iter();
            let absent = absent.filter(|_| is_at_end);
            events.extend(absent.map(|seq| Event::Absent { node, seq }));
        }
        let log = process.instance.log();
        if faults.snapshots > 0 && log.tip().seq == world.log_last() && world.log.len() > 1 {
            events.push(Event::Snapshot { node });
        }
    }

    fn flight_events(world: &World, events: &mut Vec<Event>) {
        let faults = &world.left.faults;
        for (flight, one) in world.flights.iter().enumerate() {
            let is_faulty = faults.any > 0;
            if one.answer.is_some() {
                events.push(Event::Answer { flight });
            } else {
                events.push(Event::Judge { flight });
                if is_faulty && faults.views > 0 {
                    events.push(Event::JudgeByView { flight });
                }
                if is_faulty && faults.tokens > 0 {
                    events.push(Event::KeepToken { flight });
                }
                if is_faulty && faults.answers > 0 {
                    events.push(Event::LoseBlock { flight });
                }
            }
            if is_faulty && faults.answers > 0 && one.sender.is_some() {
                events.push(Event::LoseAnswer { flight });
                events.push(Event::BeTooSlow { flight });
                if one.answer.is_none() {
                    events.push(Event::TakeNothing { flight });
                }
            }
        }
    }
}

impl Model for Explored {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bounds, |me| self.instance(me))]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let faults = &world.left.faults;
        for node in 0..world.nodes.len() {
            self.node_events(world, node, events);
        }
        // No process continues before all have checked that the log does.
        let is_broken = |node: &Arc<Node>| node.link == Link::Broken;
        let waits = self.breach != Some(Breach::GoesOnFirst);
        if waits && world.nodes.iter().any(is_broken) {
            events.retain(|event| matches!(event, Event::Resume { .. } | Event::Restart { .. }));
        }
        if world.stream_last < world.left.messages {
            events.push(Event::Publish);
        }
        if faults.any > 0 && faults.stream_backs > 0 {
            events.extend((0..world.stream_last).map(|kept| Event::StreamBack { kept }));
        }
        if faults.any > 0 && faults.log_backs > 0 {
            let kept = (1..world.log.len()).filter(|kept| Self::may_lose(world, *kept));
            events.extend(kept.map(|kept| Event::LogBack { kept }));
        }
        events.extend((0..world.limbo.len()).map(|index| Event::StoreLate { index }));
        Self::flight_events(world, events);
        if world.left.ticks > 0 {
            events.push(Event::Tick);
        }
        if faults.any > 0 && faults.deletions > 0 {
            events.extend(world.stream.keys().map(|&seq| Event::Delete { seq }));
        }
        let refuses = world.left.refused != 0 || world.left.refuses_all;
        if faults.any > 0 && faults.mends > 0 && refuses {
            events.push(Event::Mend);
        }
        Self::operator_events(world, events);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        self.happen(&mut next, event)?;
        next.order();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("no message is stored twice", |_, world: &World| {
                let mut pairs = world.rows.windows(2);
                pairs.all(|pair| pair[0].0 != pair[1].0)
            }),
            Property::always("no message is row and dead letter", |_, world: &World| {
                let mut rows = world.rows.iter();
                rows.all(|(seq, _)| !world.dead_letters.contains(seq))
            }),
            Property::always(
                "no dead letter without a reason",
                |model: &Self, world: &World| {
                    let bounds = &model.bounds;
                    let reasons = bounds.invalid | bounds.unfit | bounds.refused;
                    let mut letters = world.dead_letters.iter();
                    bounds.faults.exhausted > 0
                        || letters.all(|(seq, _)| reasons >> (seq - 1) & 1 == 1)
                },
            ),
            Property::always(
                "a log is lost that is taken for lost",
                |_, world: &World| !world.has_false_alarm,
            ),
            Property::always("what is acked is stored", |_, world: &World| {
                world.acked.iter().all(|one| world.is_stored(*one))
            }),
            Property::always("what is done is stored", |_, world: &World| {
                // Acked messages are done by their process's log.
                let is_done = |node: usize, message| {
                    let instance = &world.nodes[node].instance;
                    let has_read = instance.log().tip().seq > 0;
                    has_read
                        && instance.standing(position(message)) == Standing::Done
                        && !world.is_missing(node, message)
                };
                world.messages().all(|message| {
                    let mut nodes = 0..world.nodes.len();
                    world.is_stored(message) || !nodes.any(|node| is_done(node, message))
                })
            }),
        ];
        if self.recovers {
            properties.push(Property::always(
                "every state has a way out",
                recovery::is_possible,
            ));
        }
        properties
    }
}
