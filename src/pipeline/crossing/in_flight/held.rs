//! Held messages, and the room for more. Pure: no lock, and time is an argument.
//!
//! Messages that arrive together are one chunk: what they share is there once, and a lease is a
//! place in it.

use std::time::Duration;

use jetstream::Subjects;
use slab::Slab;
use tokio::time::Instant;

use crate::pipeline::crossing::source::SignalSource;

/// Bytes of a usual ack subject.
pub const ACK_SUBJECT_BYTES: usize = 80;

/// Messages that are held, and the room that is left.
#[derive(Debug)]
pub struct Held {
    chunks: Slab<HeldChunk>,
    messages: usize,
    bytes: usize,
    free_messages: usize,
    free_bytes: usize,
    /// The bound, which the free room never exceeds.
    max: (usize, usize),
}

/// Messages that arrived together. It goes with the last of them.
#[derive(Debug)]
pub struct HeldChunk {
    /// The source of signals; an advisory has none, and is not given back: each of its deliveries
    /// is a try.
    pub source: Option<SignalSource>,
    /// Time at which the server got the last sign that they are held.
    renewed_at: Instant,
    replies: Subjects,
    messages: Vec<HeldMessage>,
    /// Messages that are still held.
    held: usize,
}

#[derive(Debug, Clone, Copy)]
struct HeldMessage {
    bytes: usize,
    state: HeldState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeldState {
    Held,
    /// Its room was given back, although it is held.
    Spared,
    Released,
}

/// Place of a held message.
#[derive(Debug, Clone, Copy)]
pub struct HeldPlace {
    chunk: u32,
    place: u32,
}

impl HeldChunk {
    /// An empty chunk that arrives now, for `count` messages.
    pub fn now(source: Option<SignalSource>, count: usize) -> Self {
        Self {
            source,
            // One reading of the clock for all: one for each was a tenth of the daemon's CPU.
            renewed_at: Instant::now(),
            replies: Subjects::with_capacity(count, ACK_SUBJECT_BYTES),
            messages: Vec::with_capacity(count),
            held: 0,
        }
    }

    /// Adds a message: where its ack goes, and its bytes. Returns its place.
    fn add(&mut self, reply: &[u8], bytes: usize, state: HeldState) -> u32 {
        self.replies.push(reply);
        self.messages.push(HeldMessage { bytes, state });
        self.held += 1;
        // Far below 2^32: the bound of messages in flight is 10,000,000 at most.
        (self.messages.len() - 1) as u32
    }

    /// Replies of the messages that are still held.
    pub fn replies(&self) -> impl Iterator<Item = &[u8]> {
        let replies = self.replies.iter().zip(&self.messages);
        let held = replies.filter(|(_, message)| message.state != HeldState::Released);
        held.map(|(reply, _)| reply)
    }
}

impl Held {
    /// Room for so many messages and bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            chunks: Slab::new(),
            messages: 0,
            bytes: 0,
            free_messages: max_messages,
            free_bytes: max_bytes,
            max: (max_messages, max_bytes),
        }
    }

    /// Messages that are held.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages and bytes that there is room for.
    #[cfg(test)]
    pub fn free(&self) -> (usize, usize) {
        (self.free_messages, self.free_bytes)
    }

    /// Takes room, if there is as much.
    pub fn take(&mut self, messages: usize, bytes: usize) -> bool {
        let fits = self.free_messages >= messages && self.free_bytes >= bytes;
        if fits {
            self.free_messages -= messages;
            self.free_bytes -= bytes;
        }
        fits
    }

    /// Gives room back.
    pub fn give(&mut self, messages: usize, bytes: usize) {
        self.free_messages += messages;
        self.free_bytes += bytes;
        debug_assert!(
            self.free_messages <= self.max.0 && self.free_bytes <= self.max.1,
            "room is given back once"
        );
    }

    /// Holds a message as the next of `chunk`, which [`Self::hold`] keeps before any other.
    pub fn add(&self, chunk: &mut HeldChunk, reply: &[u8], bytes: usize) -> HeldPlace {
        HeldPlace {
            // There are fewer chunks than messages.
            chunk: self.chunks.vacant_key() as u32,
            place: chunk.add(reply, bytes, HeldState::Held),
        }
    }

    /// Keeps a chunk, unless it is empty.
    pub fn hold(&mut self, chunk: HeldChunk) {
        if chunk.held > 0 {
            self.messages += chunk.held;
            self.bytes += chunk.messages.iter().map(|one| one.bytes).sum::<usize>();
            self.chunks.insert(chunk);
        }
    }

    /// All chunks with a message.
    pub fn chunks(&self) -> impl Iterator<Item = &HeldChunk> {
        self.chunks.iter().map(|(_, chunk)| chunk)
    }

    /// Source of a message.
    pub fn source(&self, at: HeldPlace) -> Option<SignalSource> {
        self.chunks.get(at.chunk as usize)?.source
    }

    /// Releases a message: gives its room back, and passes on its source and its reply.
    pub fn release(&mut self, at: HeldPlace, pass: &mut impl FnMut(Option<SignalSource>, &[u8])) {
        let (key, place) = (at.chunk as usize, at.place as usize);
        let Some(chunk) = self.chunks.get_mut(key) else {
            return;
        };
        let Some(message) = chunk.messages.get_mut(place) else {
            return;
        };
        let HeldMessage { bytes, state } = *message;
        debug_assert_ne!(state, HeldState::Released, "a lease ends once");
        message.state = HeldState::Released;
        pass(chunk.source, chunk.replies.get(place));
        chunk.held -= 1;
        if chunk.held == 0 {
            self.chunks.remove(key);
        }
        self.messages -= 1;
        self.bytes -= bytes;
        if state == HeldState::Held {
            self.give(1, bytes);
        }
    }

    /// Gives the room of a message back and goes on holding it.
    pub fn spare(&mut self, at: HeldPlace) {
        let chunk = self.chunks.get_mut(at.chunk as usize);
        let message = chunk.and_then(|chunk| chunk.messages.get_mut(at.place as usize));
        let Some(message) = message.filter(|message| message.state == HeldState::Held) else {
            return;
        };
        message.state = HeldState::Spared;
        let bytes = message.bytes;
        self.give(1, bytes);
    }

    /// Moves a message to a chunk of its own: it would keep those that arrived with it.
    pub fn detach(&mut self, at: HeldPlace) -> HeldPlace {
        let (key, place) = (at.chunk as usize, at.place as usize);
        let several = self
            .chunks
            .get_mut(key)
            .filter(|chunk| chunk.messages.len() > 1);
        let Some(chunk) = several else { return at };
        let Some(message) = chunk.messages.get_mut(place) else {
            return at;
        };
        let mut own = HeldChunk {
            source: chunk.source,
            renewed_at: chunk.renewed_at,
            replies: Subjects::default(),
            messages: Vec::new(),
            held: 0,
        };
        let HeldMessage { bytes, state } = *message;
        own.add(chunk.replies.get(place), bytes, state);
        message.state = HeldState::Released;
        chunk.held -= 1;
        if chunk.held == 0 {
            self.chunks.remove(key);
        }
        HeldPlace {
            chunk: self.chunks.insert(own) as u32,
            place: 0,
        }
    }

    /// Replies of all that is held for `age` without a sign. From now on they have had one.
    pub fn due(&mut self, now: Instant, age: Duration) -> Subjects {
        let mut due = Subjects::default();
        for (_, chunk) in &mut self.chunks {
            if now.saturating_duration_since(chunk.renewed_at) >= age {
                chunk.renewed_at = now;
                due.extend(chunk.replies());
            }
        }
        due
    }
}
