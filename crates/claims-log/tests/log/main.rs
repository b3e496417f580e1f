//! Tests of the claims log on a real nats-server, which each test starts.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test stops at the first surprise.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;
use claims::{LogPosition, Nonce, PublisherId, Record, RecordBody, Snapshot, Standing};
use risksignal_claims_log::{ClaimsLogError, LogStorage, Process, rebuild};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use support::{CREATED, DEADLINE, Nats, TIMING, Table, block, position, process, spawn};

/// Claims messages, and returns those that the claim got.
async fn claim(process: &Process, sequences: impl Iterator<Item = u64>) -> (Nonce, Vec<u64>) {
    let id = process.nonce();
    let block = block(sequences);
    let record = loop {
        process.ready().await;
        // Waits while the log is checked after a connect.
        let record = process.with(|instance| instance.claim(id, block.clone()));
        if let Ok(record) = record {
            break record;
        }
        sleep(Duration::from_millis(5)).await;
    };
    process.append(record).await;
    let got = process.with(|instance| match instance.log().claim(id) {
        Some(claim) => claim.block.rows().collect(),
        None => Vec::new(),
    });
    (id, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_belongs_to_one_claim() {
    let nats = Nats::start().await;
    nats.log().await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (process, _) = process(nats.other_log().await).await;
        tasks.push(tokio::spawn(async move {
            let mut all = Vec::new();
            for round in 0..50u64 {
                // All four claim each message.
                let (id, got) = claim(&process, round * 10 + 1..=round * 10 + 10).await;
                all.extend(got.into_iter().map(|seq| (seq, id)));
            }
            (process, all)
        }));
    }
    let mut owners: BTreeMap<u64, Nonce> = BTreeMap::new();
    let mut processes = Vec::new();
    for task in tasks {
        let (process, all) = task.await.unwrap();
        processes.push(process);
        for (seq, id) in all {
            assert_eq!(owners.insert(seq, id), None, "{seq} is in two claims");
        }
    }
    assert_eq!(owners.len(), 500);
    let open = |process: &Process| {
        process.with(|instance| {
            let claims = instance.log().claims();
            claims
                .map(|(id, claim)| (id, claim.clone()))
                .collect::<BTreeMap<_, _>>()
        })
    };
    for process in &processes {
        let _ = claim(process, 1..=1).await;
    }
    assert_eq!(open(&processes[0]), open(&processes[3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn done_claims_are_published_and_seen_by_all() {
    let nats = Nats::start().await;
    nats.log().await;
    let (one, _) = process(nats.other_log().await).await;
    let (two, _) = process(nats.other_log().await).await;
    let (id, _) = claim(&one, 1..=3).await;
    let attempt = one.with(|instance| instance.send(id)).unwrap();
    let answer = claims::InsertAnswer::Committed { exact: true };
    one.with(|instance| instance.record_answer(attempt, answer));
    assert!(one.with(|instance| instance.finish(id)).is_some());
    one.flush_soon();
    tokio::time::timeout(DEADLINE, one.closed(id))
        .await
        .unwrap();
    // Reads up to its own record, which is the last one.
    let (_, got) = claim(&two, 1..=4).await;
    assert_eq!(got, [4]);
    assert_eq!(two.with(|instance| instance.log().floor(CREATED)), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_takes_the_place_of_what_it_covers_and_of_nothing_else() {
    let nats = Nats::start().await;
    let log = nats.log().await;
    let (one, _) = process(nats.other_log().await).await;
    let (id, _) = claim(&one, 1..=3).await;
    let early = one.with(|instance| instance.snapshot(Nonce(77))).unwrap();
    let (_, got) = claim(&one, 4..=4).await;
    assert_eq!(got, [4]);
    assert_eq!(
        log.append(&early).await.unwrap(),
        None,
        "a record came meanwhile"
    );
    let snapshot = one.with(|instance| instance.snapshot(Nonce(78))).unwrap();
    let seq = log.append(&snapshot).await.unwrap().unwrap();
    let info = log.find().await.unwrap().unwrap();
    assert_eq!((info.state.first_sequence, info.state.messages), (seq, 1));
    let (late, _) = process(nats.other_log().await).await;
    assert!(late.with(|instance| instance.log().claim(id).is_some()));
    let (_, got) = claim(&late, 1..=5).await;
    assert_eq!(got, [5]);
    // The process that has read everything continues as well.
    let (_, got) = claim(&one, 4..=6).await;
    assert_eq!(got, [6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_records_of_an_earlier_generation_is_read_from_the_newest_one() {
    let nats = Nats::start().await;
    let log = nats.log().await;
    let (one, shutdown) = process(nats.other_log().await).await;
    claim(&one, 1..=3).await;
    shutdown.cancel();
    // What a server has after it lost the removal of the records before a rebuild's snapshot.
    let mut snapshot = Snapshot::first(CREATED, 3);
    let last = log.find().await.unwrap().unwrap().state.last_sequence;
    let id = log.record(last).await.unwrap().unwrap().id;
    snapshot.covers = LogPosition { seq: last, id };
    let renewed = Record {
        id: Nonce(2),
        publisher: PublisherId(2),
        generation: Nonce(2),
        tip: snapshot.covers,
        done: Vec::new(),
        body: RecordBody::Snapshot(Box::new(snapshot)),
    };
    let body = claims::encode(&renewed).unwrap();
    let context = nats.context().await;
    let published = context.publish(log.name().to_owned(), body.into()).await;
    let seq = published.unwrap().await.unwrap().sequence;

    let other = Process::new(nats.other_log().await, 100_000, TIMING);
    let ended = other
        .run(&Table::default(), &CancellationToken::new())
        .await;
    assert_eq!(ended.unwrap_err().renewed_at(), Some(seq));
    let next = Process::new(nats.other_log().await, 100_000, TIMING);
    next.begin_at(seq);
    let running = next.clone();
    tokio::spawn(async move {
        running
            .run(&Table::default(), &CancellationToken::new())
            .await
    });
    tokio::time::timeout(DEADLINE, next.ready()).await.unwrap();
    let (_, got) = claim(&next, 3..=4).await;
    assert_eq!(got, [4], "the newest generation counts");
    let read = log.read().await.unwrap().unwrap();
    assert_eq!(read.generation(), Nonce(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_loses_no_claim() {
    let mut nats = Nats::start().await;
    nats.log().await;
    let (one, _) = process(nats.other_log().await).await;
    let (id, _) = claim(&one, 1..=3).await;
    nats.kill();
    let next = tokio::spawn({
        let one = one.clone();
        async move {
            loop {
                // A claim from before the disconnect was noticed is void behind the connect.
                let (_, got) = claim(&one, 3..=4).await;
                if !got.is_empty() {
                    break got;
                }
            }
        }
    });
    sleep(Duration::from_millis(300)).await;
    nats.restart().await;
    assert_eq!(
        tokio::time::timeout(DEADLINE, next).await.unwrap().unwrap(),
        [4]
    );
    assert!(one.with(|instance| instance.log().claim(id).is_some()));
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_tail_is_noticed_and_nothing_is_appended_to_it() {
    for goes_on in [false, true] {
        let mut nats = Nats::start().await;
        nats.log().await;
        let one = Process::new(nats.other_log().await, 100_000, TIMING);
        let run = tokio::spawn({
            let one = one.clone();
            async move { one.run(&Table::default(), &CancellationToken::new()).await }
        });
        one.ready().await;
        claim(&one, 1..=3).await;
        let backup = tempfile::tempdir().unwrap();
        nats.kill();
        copy(
            &nats.data.path().join("jetstream"),
            &backup.path().join("jetstream"),
        );
        nats.restart().await;
        let (lost, _) = claim(&one, 4..=5).await;
        claim(&one, 6..=7).await;
        nats.kill();
        std::fs::remove_dir_all(nats.data.path().join("jetstream")).unwrap();
        copy(&backup.path().join("jetstream"), nats.data.path());
        nats.child = spawn(nats.port, nats.data.path());
        if goes_on {
            // Another process uses the sequences again before this one is back, which then sees
            // another record at its tip. This process may be faster, with the same result.
            let (two, _) = process(nats.other_log().await).await;
            for seq in 10..14 {
                claim(&two, seq..=seq).await;
            }
        }
        let error = tokio::time::timeout(DEADLINE, run)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
        assert!(error.is_lost(), "{error}");
        let before = nats
            .other_log()
            .await
            .find()
            .await
            .unwrap()
            .unwrap()
            .state
            .last_sequence;
        let refused = tokio::time::timeout(Duration::from_secs(2), claim(&one, 20..=20)).await;
        assert!(refused.is_err(), "it claims on a log that it does not know");
        let after = nats
            .other_log()
            .await
            .find()
            .await
            .unwrap()
            .unwrap()
            .state
            .last_sequence;
        assert_eq!(before, after);

        // The row of 4 is in the table under a lost claim; that of 5 never arrived.
        let table = Table(vec![(4, lost)]);
        let log = nats.other_log().await;
        let known = one.with(|instance| instance.log().clone());
        rebuild(&log, known, &table).await.unwrap();
        let three = Process::new(nats.other_log().await, 100_000, TIMING);
        let running = three.clone();
        tokio::spawn(async move { running.run(&table, &CancellationToken::new()).await });
        tokio::time::timeout(DEADLINE, three.ready()).await.unwrap();
        let standing = |seq| three.with(|instance| instance.standing(position(seq)));
        assert_eq!(
            standing(4),
            Standing::Doubtful,
            "it is looked up before it is claimed"
        );
        assert_eq!(standing(30), Standing::Free);
        let (_, got) = claim(&three, 30..=30).await;
        assert_eq!(got, [30]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_lose_records_is_refused_by_name() {
    let nats = Nats::start().await;
    let log = nats.other_log().await;
    let context = nats.context().await;
    let fits = jetstream::stream::Config {
        name: log.name().to_owned(),
        subjects: vec![log.name().to_owned()],
        discard: jetstream::stream::DiscardPolicy::New,
        deny_delete: true,
        allow_rollup: true,
        ..Default::default()
    };
    let cases: [(&str, jetstream::stream::Config); 6] = [
        (
            "max_age",
            jetstream::stream::Config {
                max_age: DEADLINE,
                ..fits.clone()
            },
        ),
        (
            "max_msgs",
            jetstream::stream::Config {
                max_messages: 9,
                ..fits.clone()
            },
        ),
        (
            "max_bytes",
            jetstream::stream::Config {
                max_bytes: 1 << 20,
                ..fits.clone()
            },
        ),
        (
            "discard",
            jetstream::stream::Config {
                discard: jetstream::stream::DiscardPolicy::Old,
                ..fits.clone()
            },
        ),
        (
            "deny_delete",
            jetstream::stream::Config {
                deny_delete: false,
                ..fits.clone()
            },
        ),
        (
            "allow_rollup_hdrs",
            jetstream::stream::Config {
                allow_rollup: false,
                ..fits.clone()
            },
        ),
    ];
    for (key, config) in cases {
        context.create_stream(config).await.unwrap();
        let refused = log.ensure(LogStorage::File, 1).await.unwrap_err();
        let names = |error: &ClaimsLogError| matches!(error, ClaimsLogError::Config { key: found, .. } if *found == key);
        assert!(names(&refused), "{key}: {refused}");
        context.delete_stream(log.name()).await.unwrap();
    }
    context.create_stream(fits).await.unwrap();
    log.ensure(LogStorage::File, 1).await.unwrap();
}
