//! The table goes back, and an operator puts everything in doubt again.

use risksignal_claims::{AllFencesOver, Nonce};

use crate::events::{Breach, Event};
use crate::explore::Explored;
use crate::world::{CREATED, World};

/// Longest fence, in ticks of the model's clock.
const FENCE_LONGEST: i64 = 1;

impl Explored {
    /// Returns faults of the table and the log from outside.
    pub fn operator_events(world: &World, events: &mut Vec<Event>) {
        let faults = &world.left.faults;
        if faults.any == 0 {
            return;
        }
        // A table that is restored again is put in doubt again, in the same way.
        if faults.restores > 0 && world.reopening.is_none() && world.reopened.is_none() {
            let mut claims: Vec<Nonce> = world.rows.iter().map(|(_, claim)| *claim).collect();
            claims.sort_unstable();
            claims.dedup();
            let both = |claim| [true, false].map(|has_token| Event::Restore { claim, has_token });
            events.extend(claims.into_iter().flat_map(both));
        }
        if faults.reopenings > 0 && world.reopening.is_none() {
            events.push(Event::BeginReopening);
        }
        if faults.intrusions > 0 {
            events.push(Event::Intrude);
        }
    }

    /// Restores the table without the rows of a claim. The operator continues with the reopening.
    pub fn restore(world: &mut World, claim: Nonce, has_token: bool) {
        let lost = world.rows.extract_if(.., |(_, of)| *of == claim);
        world.missing.extend(lost.map(|(message, _)| message));
        if !has_token {
            let token = world.token(claim);
            world.tokens.retain(|one| *one != token);
        }
        world.reopening = Some(world.now);
    }

    /// Returns the proof that no attempt of a claim from before the reopening can land any more.
    fn fences_over(&self, world: &World) -> Option<AllFencesOver> {
        let since = world.reopening?;
        let now = match self.breach {
            Some(Breach::ReopensEarly) => i64::MAX,
            _ => world.now,
        };
        AllFencesOver::judge(since + FENCE_LONGEST, now, 0)
    }

    /// Reports whether a process may publish that everything is in doubt.
    pub fn may_reopen(&self, world: &World) -> bool {
        self.fences_over(world).is_some()
    }

    /// Publishes for a process that everything is in doubt.
    pub fn reopen(&self, world: &mut World, node: usize) -> Option<()> {
        let over = self.fences_over(world)?;
        if world.log_of(node).tip().seq == 0 {
            return None;
        }
        let id = Nonce(world.fresh(node));
        let instance = &mut world.node(node).instance;
        let record = instance.reopen(id, over, CREATED, 0..=u64::MAX)?;
        world.node(node).outbox.push(record.into());
        Some(())
    }
}
