use super::*;
use crate::block::Part;
use crate::entry::{Cause, Entry, Fate};
use crate::log::StoredEntry;
use crate::record::Snapshot;

const CREATED: i64 = 7;
const FENCE: i64 = 100;
const OTHER: PublisherId = PublisherId(2);

/// A log with processes that read it to its end after each record.
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
            me: Instance::new(PublisherId(1), 100),
        };
        let body = RecordBody::Snapshot(Box::new(Snapshot::first(CREATED, 0)));
        scene.other(body);
        scene.connect();
        scene
    }

    fn connect(&mut self) {
        let id = self.nonce();
        let record = self.me.connect(id);
        self.append(&record);
        assert_eq!(self.me.join([], self.seq), Ok(true));
    }

    fn nonce(&mut self) -> Nonce {
        self.next += 1;
        Nonce(self.next)
    }

    fn append(&mut self, record: &Record) {
        self.seq += 1;
        self.me.read(self.seq, record).unwrap();
    }

    /// Publishes a record of another process.
    fn other(&mut self, body: RecordBody) {
        let record = Record {
            id: self.nonce(),
            publisher: OTHER,
            generation: self.me.log().generation(),
            tip: self.me.log().tip(),
            done: Vec::new(),
            body,
        };
        self.append(&record);
    }

    /// Claims messages with these fates for the process.
    fn claim(&mut self, fates: &[Fate]) -> Nonce {
        let id = self.nonce();
        let entry = |(index, fate): (usize, &Fate)| Entry {
            stream_seq: index as u64 + 1,
            published_ns: 0,
            fate: *fate,
        };
        let block = ClaimBlock {
            stream_created_ns: CREATED,
            fence: FENCE,
            table: 0,
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
    scene.other(RecordBody::Takeover(claim));
    scene.me.record_dead_letter(claim, 1);
    scene.me.finish(claim).unwrap();
    scene.flush();
    assert_eq!(scene.me.log().floor(CREATED), Some(1));
}

#[test]
fn a_record_that_the_log_answered_and_lost_is_missed() {
    let mut scene = Scene::new();
    let claim = scene.claim(&[Fate::Row]);
    let over = FenceOver::judge(FENCE, FENCE + 1, 0).unwrap();
    let evidence = Evidence {
        over,
        found: &FoundRows::new([1].into()),
        gone: &[].into(),
        unfit: &[].into(),
        blames_rows: true,
        is_slow: false,
    };
    let id = scene.nonce();
    let settled = scene.me.settle(id, claim, evidence, 200, || Nonce(9));
    let settled = settled.unwrap().unwrap();
    let (tip, seq) = (scene.me.log().tip(), scene.seq + 1);
    scene.me.confirm_published(&settled, seq).unwrap();
    // The log lost it, and has nothing or another record at its sequence.
    scene.me.note_disconnect();
    let lost = Err(LogReadError::Lost { seq });
    assert_eq!(scene.me.resume(scene.seq, Some(tip.id)), lost);
    let other = Record {
        id: Nonce(8),
        body: RecordBody::Nothing,
        ..settled.clone()
    };
    assert_eq!(scene.me.read(seq, &other), lost);
    assert_eq!(scene.me.read(seq, &settled), Ok(()));
}

#[test]
fn a_block_that_takes_too_long_is_settled_in_halves() {
    for (is_slow, parts) in [(false, 1), (true, 2)] {
        let mut scene = Scene::new();
        let claim = scene.claim(&[Fate::Row, Fate::Row]);
        let evidence = Evidence {
            over: FenceOver::judge(FENCE, FENCE + 1, 0).unwrap(),
            found: &FoundRows::default(),
            gone: &[].into(),
            unfit: &[].into(),
            blames_rows: true,
            is_slow,
        };
        let (id, mut next) = (scene.nonce(), 100);
        let settled = scene.me.settle(id, claim, evidence, 200, || {
            next += 1;
            Nonce(next)
        });
        let RecordBody::Settled { parts: made, .. } = settled.unwrap().unwrap().body else {
            panic!("no settlement");
        };
        assert_eq!(made.len(), parts);
    }
}

#[test]
fn an_unexplained_entry_was_lost_with_its_record() {
    let mut scene = Scene::new();
    let letter = Fate::DeadLetter(Cause::Invalid);
    let claim = scene.claim(&[Fate::Row, letter]);
    let last = scene.seq;
    let mut explains = |stream_seq, claim| {
        let position = crate::id::Position {
            stream_created_ns: CREATED,
            stream_seq,
            published_ns: 0,
        };
        let stored = StoredEntry { position, claim };
        scene.me.join([stored], last).is_ok()
    };
    assert!(explains(1, Some(claim)) && explains(2, None));
    // A row of a lost claim whose message is in another claim now.
    assert!(!explains(1, Some(Nonce(9))) && !explains(1, None));
    assert!(!explains(2, Some(claim)) && !explains(3, None));
}

#[test]
fn nothing_is_done_before_the_log_was_checked() {
    let mut scene = Scene::new();
    let claim = scene.claim(&[Fate::Row]);
    scene.me.note_disconnect();
    assert_eq!(scene.me.step(claim), Step::Wait);
    assert!(scene.me.send(claim).is_none());
    assert_eq!(scene.me.join([], scene.seq), Ok(false));
    assert_eq!(scene.me.step(claim), Step::Wait);
    scene.connect();
    assert_eq!(scene.me.step(claim), Step::Send);
}

#[test]
fn rows_that_the_settler_cannot_build_become_dead_letters() {
    let mut scene = Scene::new();
    let claim = scene.claim(&[Fate::Row, Fate::Row, Fate::Row]);
    let over = FenceOver::judge(FENCE, FENCE + 1, 0).unwrap();
    let evidence = Evidence {
        over,
        found: &FoundRows::new([3].into()),
        gone: &[].into(),
        unfit: &[2, 3].into(),
        blames_rows: true,
        is_slow: false,
    };
    let id = scene.nonce();
    let settled = scene.me.settle(id, claim, evidence, 200, || Nonce(9));
    let RecordBody::Settled { parts, lost, .. } = settled.unwrap().unwrap().body else {
        panic!("no settlement");
    };
    let fates: Vec<_> = parts[0]
        .entries
        .iter()
        .map(|entry| (entry.stream_seq, entry.fate))
        .collect();
    // 3 is in the table, whatever this process would build.
    let invalid = Fate::DeadLetter(Cause::Invalid);
    assert_eq!(fates, [(1, Fate::Row), (2, invalid)]);
    assert!(lost.is_empty() && parts.len() == 1);
}

fn settled(scene: &mut Scene, claim: Nonce) -> Vec<Part> {
    let over = FenceOver::judge(FENCE, FENCE + 1, 0).unwrap();
    let evidence = Evidence {
        over,
        found: &FoundRows::default(),
        gone: &[].into(),
        unfit: &[].into(),
        blames_rows: true,
        is_slow: false,
    };
    let (id, mut next) = (scene.nonce(), 1_000);
    let nonce = || {
        next += 1;
        Nonce(next)
    };
    let settled = scene.me.settle(id, claim, evidence, 200, nonce);
    let RecordBody::Settled { parts, .. } = settled.unwrap().unwrap().body else {
        panic!("no settlement");
    };
    parts
}

#[test]
fn a_block_too_large_until_its_fence_is_settled_in_halves() {
    for answer in [InsertAnswer::TooLarge, InsertAnswer::TooSlow] {
        let mut scene = Scene::new();
        let claim = scene.claim(&[Fate::Row, Fate::Row]);
        // Another process announces a takeover after a while: nobody may split the claim.
        scene.other(RecordBody::Takeover(claim));
        for answer in [answer, InsertAnswer::Late] {
            let attempt = scene.me.send(claim).unwrap();
            scene.me.record_answer(attempt, answer);
            scene.me.record_count(claim, FoundRows::default());
        }
        assert_eq!(scene.me.step(claim), Step::Settle);
        assert_eq!(settled(&mut scene, claim).len(), 2, "{answer:?}");
    }
}

#[test]
fn done_claims_are_published_although_a_connect_record_was_lost() {
    let mut scene = Scene::new();
    let claim = scene.claim(&[Fate::Row]);
    let attempt = scene.me.send(claim).unwrap();
    let answer = InsertAnswer::Committed { exact: true };
    scene.me.record_answer(attempt, answer);
    scene.me.finish(claim).unwrap();
    scene.me.note_disconnect();
    // The record never reaches the log, since the connection breaks again.
    let id = scene.nonce();
    let _ = scene.me.connect(id);
    scene.me.note_disconnect();
    scene.connect();
    if scene.me.has_done() {
        scene.flush();
    }
    let step = scene.me.step(claim);
    assert_eq!(scene.me.log().floor(CREATED), Some(1), "{step:?}");
}
