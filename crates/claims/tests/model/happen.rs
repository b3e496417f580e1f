//! Application of events.

use std::sync::Arc;

use risksignal_claims::{InsertAnswer, Nonce, Record, Step};

use crate::bounds::Faults;
use crate::events::{Breach, Event};
use crate::explore::Explored;
use crate::world::{Flight, Message, World, rows};

impl Explored {
    fn answered(world: &mut World, flight: usize, answer: InsertAnswer) -> Option<()> {
        let (node, attempt) = world.flights[flight].sender.take()?;
        world.node(node).instance.record_answer(attempt, answer);
        Some(())
    }

    /// Applies an event; `None` if it changes nothing.
    pub fn happen(&self, world: &mut World, event: Event) -> Option<()> {
        match event {
            Event::Claim { node, messages } => {
                world.left.claims -= 1;
                let stream = world
                    .stream
                    .iter()
                    .map(|(seq, published)| (*seq, *published));
                let is_chosen = |(seq, _): &Message| messages >> (seq - 1) & 1 == 1;
                let chosen: Vec<Message> = stream.filter(is_chosen).collect();
                let block = Self::block(world, node, chosen.into_iter(), false);
                self.claim(world, node, block)
            }
            Event::GiveUp { node, seq } => {
                world.left.claims -= 1;
                spend(world, |faults| &mut faults.exhausted);
                let message = (seq, *world.stream.get(&seq)?);
                let block = Self::block(world, node, std::iter::once(message), true);
                self.claim(world, node, block)
            }
            Event::Flush { node } => Self::flush(world, node),
            Event::Store {
                node,
                index,
                is_answered,
            } => {
                if !is_answered {
                    spend(world, |faults| &mut faults.repeats);
                }
                self.store(world, node, index, is_answered);
                Some(())
            }
            Event::StoreLate { index } => {
                let record = world.limbo.remove(index);
                world.append(record);
                Some(())
            }
            Event::Read { node } => self.read(world, node),
            Event::Step { node, claim } => {
                if self.breach == Some(Breach::SendsUnannounced)
                    && world.nodes[node].instance.step(claim) == Step::TakeOver
                {
                    return send_unannounced(world, node, claim);
                }
                self.step(world, node, claim)
            }
            Event::TakeOver { node, claim } => {
                spend(world, |faults| &mut faults.takeovers);
                let id = Nonce(world.fresh(node));
                let record = world.node(node).instance.take_over(id, claim)?;
                world.node(node).outbox.push(Arc::new(record));
                Some(())
            }
            Event::Settle { node, claim } => self.settle(world, node, claim),
            Event::Judge { flight } => {
                self.judge(world, flight);
                Some(())
            }
            Event::JudgeByView { flight } => {
                spend(world, |faults| &mut faults.views);
                self.judge(world, flight);
                if let Some(one) = world.flights.get_mut(flight)
                    && matches!(one.answer, Some(InsertAnswer::Committed { .. }))
                {
                    one.answer = Some(InsertAnswer::Refused);
                }
                Some(())
            }
            Event::KeepToken { flight } => {
                spend(world, |faults| &mut faults.tokens);
                let Flight { claim, fence, .. } = world.flights[flight];
                let token = world.token(claim);
                if world.now >= fence || world.tokens.contains(&token) {
                    return None;
                }
                world.keep(token);
                Self::answered(world, flight, InsertAnswer::Unknown);
                world.flights.remove(flight);
                Some(())
            }
            Event::Answer { flight } => {
                let answer = world.flights[flight].answer?;
                Self::answered(world, flight, answer);
                world.flights.remove(flight);
                Some(())
            }
            Event::TakeNothing { flight } => {
                spend(world, |faults| &mut faults.answers);
                Self::answered(world, flight, InsertAnswer::NotTaken);
                world.flights.remove(flight);
                Some(())
            }
            Event::TryAgain { node, claim } => {
                spend(world, |faults| &mut faults.answers);
                world.node(node).instance.try_again(claim);
                Some(())
            }
            Event::LoseAnswer { flight } | Event::BeTooSlow { flight } => {
                spend(world, |faults| &mut faults.answers);
                let answer = match event {
                    Event::BeTooSlow { .. } => InsertAnswer::TooSlow,
                    _ => InsertAnswer::Unknown,
                };
                Self::answered(world, flight, answer)?;
                if world.flights[flight].answer.is_some() {
                    world.flights.remove(flight);
                }
                Some(())
            }
            Event::LoseBlock { flight } => {
                spend(world, |faults| &mut faults.answers);
                Self::answered(world, flight, InsertAnswer::Unknown);
                world.flights.remove(flight);
                Some(())
            }
            Event::Absent { node, seq } => {
                Self::report_absent(world, node, seq);
                Some(())
            }
            Event::Tick => {
                world.left.ticks -= 1;
                self.tick(world);
                Some(())
            }
            Event::Restart { node } => {
                spend(world, |faults| &mut faults.crashes);
                self.restart(world, node);
                Some(())
            }
            Event::Snapshot { node } => {
                world.left.faults.snapshots -= 1;
                Self::snapshot(world, node)
            }
            Event::Delete { seq } => {
                spend(world, |faults| &mut faults.deletions);
                let published = world.stream.remove(&seq)?;
                world.deleted.insert((seq, published));
                Some(())
            }
            Event::Mend => {
                spend(world, |faults| &mut faults.mends);
                (world.left.refused, world.left.refuses_all) = (0, false);
                Some(())
            }
            Event::LogBack { kept } => {
                spend(world, |faults| &mut faults.log_backs);
                self.lose(world, kept);
                Some(())
            }
            Event::Resume { node } => {
                self.resume(world, node);
                Some(())
            }
            Event::Join { node } => self.join(world, node),
            Event::StreamBack { kept } => {
                spend(world, |faults| &mut faults.stream_backs);
                self.stream_back(world, kept);
                Some(())
            }
            Event::Publish => {
                world.stream_last += 1;
                let message = (world.stream_last, world.stream_backs);
                world.stream.extend([message]);
                Some(())
            }
            Event::Rewind { node } => self.rewind(world, node),
            Event::Rebuild { node } => self.rebuild(world, node),
            Event::Restore { claim, has_token } => {
                spend(world, |faults| &mut faults.restores);
                Self::restore(world, claim, has_token);
                Some(())
            }
            Event::BeginReopening => {
                spend(world, |faults| &mut faults.reopenings);
                world.reopening = Some(world.now);
                Some(())
            }
            Event::Reopen { node } => self.reopen(world, node),
            Event::Intrude => {
                spend(world, |faults| &mut faults.intrusions);
                world.append(Arc::new(Record::foreign(b"garbage")));
                Some(())
            }
        }
    }
}

/// Uses one fault of a kind.
fn spend(world: &mut World, kind: impl Fn(&mut Faults) -> &mut u8) {
    world.left.faults.any -= 1;
    *kind(&mut world.left.faults) -= 1;
}

/// Sends another process's block without an announcement.
fn send_unannounced(world: &mut World, node: usize, claim: Nonce) -> Option<()> {
    let block = world.nodes[node].instance.log().claim(claim)?.block.clone();
    if world.flights.len() > 2 {
        return None;
    }
    world.flights.push(Flight {
        claim,
        fence: block.fence,
        rows: rows(&block),
        sender: None,
        answer: None,
    });
    Some(())
}
