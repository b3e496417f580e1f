use super::*;
use crate::record::{Cause, Entry, Fate, Snapshot};

const CREATED: i64 = 7;
const FENCE: i64 = 100;
const OTHER: Publisher = Publisher(2);

/// A log with the processes that read it to its end after each record.
struct Scene {
    seq: u64,
    next: u128,
    me: Instance,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            seq: 0,
            next: 100,
            me: Instance::new(Publisher(1), 100),
        };
        let body = Body::Snapshot(Box::new(Snapshot::first(CREATED, 0)));
        scene.other(body);
        scene
    }

    fn nonce(&mut self) -> Nonce {
        self.next += 1;
        Nonce(self.next)
    }

    fn append(&mut self, record: &Record) {
        self.seq += 1;
        self.me.read(self.seq, record).unwrap();
    }

    /// Has another process publish.
    fn other(&mut self, body: Body) {
        let record = Record {
            id: self.nonce(),
            publisher: OTHER,
            tip: self.me.log().tip(),
            done: Vec::new(),
            body,
        };
        self.append(&record);
    }

    /// Claims messages for the process, each of which becomes what is said.
    fn claim(&mut self, fates: &[Fate]) -> Nonce {
        let id = self.nonce();
        let entry = |(index, fate): (usize, &Fate)| Entry {
            stream_seq: index as u64 + 1,
            published_ns: 0,
            fate: *fate,
        };
        let block = Block {
            stream_created_ns: CREATED,
            fence: FENCE,
            entries: fates.iter().enumerate().map(entry).collect(),
        };
        let record = self.me.claim(id, block).unwrap();
        self.append(&record);
        id
    }

    fn flush(&mut self) {
        let id = self.nonce();
        let record = self.me.flush(id).unwrap();
        self.append(&record);
    }
}

#[test]
fn a_claim_of_dead_letters_ends_although_a_takeover_was_announced() {
    let mut scene = Scene::new();
    let claim = scene.claim(&[Fate::DeadLetter(Cause::Invalid)]);
    scene.other(Body::Takeover(claim));
    scene.me.stored_dead_letter(claim, 1);
    scene.me.finish(claim).unwrap();
    scene.flush();
    assert_eq!(scene.me.log().floor(CREATED), Some(1));
}
