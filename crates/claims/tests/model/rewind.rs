//! The stream loses its last messages, and continues with others under the same sequences.

use risksignal_claims::{Nonce, Position};

use crate::events::Breach;
use crate::explore::Explored;
use crate::world::{CREATED, Link, Message, World, position};

impl Explored {
    /// Removes all messages above a sequence from the stream. Every connection breaks.
    pub fn stream_back(&self, world: &mut World, kept: u64) {
        world.vanished.extend(world.stream.split_off(&(kept + 1)));
        world.stream_last = kept;
        world.stream_backs += 1;
        if self.breach == Some(Breach::StaysUnrewound) {
            return;
        }
        for node in 0..world.nodes.len() {
            let process = world.node(node);
            process.instance.note_disconnect();
            if process.link == Link::Joined {
                process.link = Link::Resumed;
            }
        }
    }

    /// Checks for a process whether the stream went back.
    pub fn check_stream(world: &mut World, node: usize) {
        let witnesses = world.log_of(node).witnesses(CREATED);
        let is_other = |one: &Position| match world.stream.get(&one.stream_seq) {
            Some(published) => *published != one.published_ns,
            None => one.stream_seq > world.stream_last,
        };
        if witnesses.iter().any(is_other) {
            world.node(node).instance.note_stream_went_back(CREATED);
        }
    }

    /// Reports whether a process may publish the position to which the stream went back.
    pub fn may_rewind(&self, world: &World, node: usize) -> bool {
        world.stream_backs > 0
            && world.nodes[node].outbox.is_empty()
            && world.next_record(node).is_none()
            && world.nodes[node]
                .instance
                .clone()
                .rewind(Nonce(0), Self::rewound(world))
                .is_some()
    }

    /// Publishes for a process the position to which the stream went back.
    pub fn rewind(&self, world: &mut World, node: usize) -> Option<()> {
        let to = Self::rewound(world);
        let id = Nonce(world.fresh(node));
        let record = world.node(node).instance.rewind(id, to)?;
        world.node(node).outbox.push(record.into());
        Some(())
    }

    /// Returns the last message below all those stored with another publish time.
    fn rewound(world: &World) -> Position {
        let rows = world.rows.iter().map(|(row, _)| *row);
        let stored = rows.chain(world.dead_letters.iter().copied());
        let is_other = |message: &Message| !world.has(*message);
        let other = stored.filter(is_other).map(|(seq, _)| seq).min();
        let is_below = |seq: u64| other.is_none_or(|other| seq < other);
        let stream = world
            .stream
            .iter()
            .map(|(seq, published)| (*seq, *published));
        let last = stream
            .rev()
            .find(|message| is_below(message.0) && world.has_stored(*message));
        position(last.unwrap_or_default())
    }
}
