//! Attacks on the promise: each valid signal one row, and no dead end.

use std::process::Command;
use std::time::Duration;

use claims::{LogPosition, Nonce, PublisherId, Record, RecordBody};
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::{INSERT_REFUSED, SETTLED};
use risksignal::reload::RELOADED;
use testkit::lying_proxy::{Lie, LyingProxy};
use testkit::nats::{CLAIMS, DEAD_LETTERS, STREAM};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::{sleep, timeout};

use crate::takeover::{SHORT, usual};

/// Ends a wait that would be for ever.
const PATIENCE: Duration = Duration::from_secs(40);

async fn publish(stack: &Stack, source: &str, numbers: std::ops::Range<u64>) {
    let nats = stack.nats.jetstream().await;
    for number in numbers {
        let mut one = signal(number);
        one["source_id"] = source.into();
        let sent = nats.publish("signals.risk_event", one.to_string().into());
        sent.await.unwrap().await.unwrap();
    }
}

async fn of_source(stack: &Stack, source: &str) -> u64 {
    let sql = format!("SELECT count() FROM raw_signals WHERE source_id = '{source}'");
    stack.clickhouse.number(&sql).await
}

async fn settles(stack: &Stack, what: &str) {
    assert!(timeout(PATIENCE, stack.settled()).await.is_ok(), "{what}");
}

/// A daemon whose insert was answered by a proxy stops pulling; another one completes its claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_pulls_again_when_another_has_completed_the_claim_that_halted_it() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let url = proxy.url();
    let halting = stack
        .daemon(&usual(&[setting!(clickhouse.url = url.as_str())]))
        .await;
    proxy.set_lie(Lie::Answer(200, "text/html", "<html>"));
    publish(&stack, "one", 0..1).await;
    halting.logged(INSERT_REFUSED).await;
    proxy.set_lie(Lie::None);
    let mut other = stack.daemon(&usual(&[])).await;
    settles(&stack, "the claim is completed").await;
    // Its open pulls end.
    sleep(Duration::from_secs(8)).await;
    assert!(other.stop().await.success());
    publish(&stack, "two", 1..11).await;
    settles(&stack, "a daemon whose halt is over pulls again").await;
    assert_eq!(stack.clickhouse.counts().await, (11, 11));
}

/// Refused rows whose letters have no room keep no other row from landing.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_whose_letters_cannot_be_stored_keep_no_row_from_landing() {
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let _daemon = stack.daemon(&usual(&[])).await;
    publish(&stack, "good", 0..1).await;
    stack.settled().await;
    stack.nats.bound_stream(DEAD_LETTERS, |_| 1).await;
    for round in 0..4 {
        publish(&stack, "seven", 10 * round..10 * round + 1).await;
        publish(&stack, "good", 10 * round + 1..10 * round + 3).await;
    }
    let landed = eventually("good rows land", async || {
        (of_source(&stack, "good").await == 9).then_some(())
    });
    let landed = timeout(PATIENCE, landed).await;
    let count = of_source(&stack, "good").await;
    assert!(landed.is_ok(), "{count} of 9 good rows landed");
    stack.nats.bound_stream(DEAD_LETTERS, |_| -1).await;
    settles(&stack, "letters are stored").await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 4);
}

/// A settled row is not to blame because others were taken before the table was at fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_settled_row_is_not_blamed_by_what_was_taken_before() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let survivor = stack.daemon(&usual(&SHORT)).await;
    publish(&stack, "good", 0..5).await;
    stack.settled().await;
    survivor.signal("STOP");
    let arguments = ["run", "--fault-point", "claim-appended"];
    let environment = stack.environment(&usual(&SHORT));
    let mut dying = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    dying.logged(STARTING).await;
    publish(&stack, "good", 5..6).await;
    dying.ended().await;
    let fault = "ALTER TABLE raw_signals ADD CONSTRAINT fault CHECK source_id = 'nobody'";
    stack.clickhouse.execute(fault).await;
    sleep(Duration::from_secs(4)).await;
    survivor.signal("CONT");
    survivor.logged(SETTLED).await;
    sleep(Duration::from_secs(4)).await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    assert_eq!(
        letters,
        0,
        "a good row became a dead letter: {}",
        survivor.output()
    );
}

/// Daemons that connect while another one answers doubts.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_not_claimed_when_the_report_of_it_is_void() {
    let stack = Stack::start().await;
    let daemon = stack.daemon(&usual(&SHORT)).await;
    stack.produce(&["--count=400", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400));
    let nats = stack.nats.jetstream().await;
    let stream = nats.get_stream(STREAM).await.unwrap();
    for seq in (2..=400).step_by(2) {
        stream.delete_message(seq).await.unwrap();
    }
    let first = stack.nats.messages(CLAIMS).await.remove(0);
    let generation = claims::decode(&first.payload).unwrap().generation;
    let connects = async {
        let mut tip = LogPosition::START;
        loop {
            let record = Record {
                id: Nonce(rand::random()),
                publisher: PublisherId(1),
                generation,
                tip,
                done: Vec::new(),
                body: RecordBody::Connected,
            };
            let body = claims::encode(&record).unwrap();
            let ack = nats.publish(CLAIMS, body.into()).await.unwrap().await;
            let seq = ack.unwrap().sequence;
            tip = LogPosition { seq, id: record.id };
            sleep(Duration::from_millis(3)).await;
        }
    };
    let arguments = ["reingest", "--from=1", "--to=400", "--yes"];
    let reingested = async {
        let asked = stack.risksignal_with(&arguments, &SHORT).await;
        assert!(asked.status.success(), "{asked:?}");
        sleep(Duration::from_secs(2)).await;
    };
    let before = async {
        let asked = stack.risksignal_with(&arguments, &SHORT).await;
        assert!(asked.status.success(), "{asked:?}");
    };
    before.await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400), "quiet");
    tokio::select! {
        () = connects => {}
        () = async { reingested.await; sleep(Duration::from_secs(8)).await } => {}
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        stack.clickhouse.counts().await,
        (400, 400),
        "{}",
        daemon.lines().len()
    );
}

/// The stream loses its last messages, which a daemon holds and has not claimed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_when_the_stream_went_back_hides_no_new_message() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let more = [
        setting!(clickhouse.max_concurrent_inserts = "1"),
        setting!(clickhouse.send_timeout = "20s"),
        setting!(clickhouse.end_timeout = "30s"),
        setting!(consumer.ack_wait = "60s"),
    ];
    let _daemon = stack.daemon(&usual(&more)).await;
    publish(&stack, "first", 0..1).await;
    stack.settled().await;
    stack.clickhouse.signal("STOP");
    publish(&stack, "first", 1..2).await;
    let delivered = async || {
        eventually("all are delivered", async || {
            let consumer = stack.nats.consumer().await?;
            (consumer.num_pending == 0 && consumer.num_ack_pending > 0).then_some(())
        })
        .await;
    };
    delivered().await;
    sleep(Duration::from_secs(1)).await;
    let folder = stack.nats.streams().join(STREAM);
    let backup = tempfile::tempdir().unwrap();
    let copy = backup.path().join("stream");
    let cp = |from: &std::path::Path, to: &std::path::Path| {
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.unwrap().success());
    };
    stack.nats.kill();
    cp(&folder, &copy);
    stack.nats.restart().await;
    sleep(Duration::from_secs(2)).await;
    publish(&stack, "old", 10..15).await;
    eventually("all are delivered", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_pending == 0 && consumer.num_ack_pending == 6).then_some(())
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    stack.nats.kill();
    std::fs::remove_dir_all(&folder).unwrap();
    cp(&copy, &folder);
    stack.nats.restart().await;
    publish(&stack, "new", 20..25).await;
    sleep(Duration::from_secs(3)).await;
    stack.clickhouse.signal("CONT");
    settles(&stack, "all is acked").await;
    let (old, new) = (
        of_source(&stack, "old").await,
        of_source(&stack, "new").await,
    );
    eprintln!(
        "old {old}, new {new}, {:?}",
        stack.clickhouse.counts().await
    );
    assert_eq!(new, 5, "acked and not stored; old {old}");
}

/// A signal that is valid since SIGHUP is no dead letter because another daemon claimed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_judges_by_the_settings_in_force() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let file = stack.work_dir().join("risksignal.toml");
    std::fs::write(&file, "validation.severity_max = 5").unwrap();
    let survivor = stack.daemon(&usual(&[])).await;
    std::fs::write(&file, "validation.severity_max = 9").unwrap();
    survivor.signal("HUP");
    survivor.logged(RELOADED).await;
    survivor.signal("STOP");
    let arguments = ["run", "--fault-point", "claim-appended"];
    let environment = stack.environment(&usual(&[]));
    let mut dying = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    dying.logged(STARTING).await;
    let nats = stack.nats.jetstream().await;
    let mut severe = signal(0);
    severe["severity"] = 7.into();
    let sent = nats.publish("signals.risk_event", severe.to_string().into());
    sent.await.unwrap().await.unwrap();
    dying.ended().await;
    survivor.signal("CONT");
    settles(&stack, "it lands at once").await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
}

/// A refused row that waits for another one leaves room to pull it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_that_waits_leaves_room_for_the_one_that_it_waits_for() {
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let more = [
        setting!(consumer.fetch_messages = "10"),
        setting!(consumer.max_in_flight_messages = "10"),
        setting!(consumer.pulls = "1"),
        setting!(batch.max_rows = "10"),
    ];
    let _daemon = stack.daemon(&usual(&more)).await;
    publish(&stack, "seven", 0..1).await;
    // Its pull ends.
    sleep(Duration::from_secs(8)).await;
    publish(&stack, "good", 1..11).await;
    settles(&stack, "the row waits and nothing is pulled").await;
    assert_eq!(stack.clickhouse.counts().await, (10, 10));
}

/// Two tables whose names are joined to the same one.
#[tokio::test(flavor = "multi_thread")]
async fn two_tables_never_share_a_claims_log() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let names = [("a_b", "c", "one"), ("a", "b_c", "two")];
    let mut daemons = Vec::new();
    for (database, table, consumer) in names {
        let more = [
            setting!(clickhouse.database = database),
            setting!(clickhouse.table = table),
            setting!(consumer.name = consumer),
        ];
        daemons.push(stack.daemon_not_waited_for(&usual(&[SHORT.as_slice(), &more].concat())));
        sleep(Duration::from_secs(4)).await;
    }
    publish(&stack, "good", 0..10).await;
    sleep(Duration::from_secs(8)).await;
    for (database, table, consumer) in names {
        let rows = stack
            .clickhouse
            .number(&format!("SELECT count() FROM {database}.{table}"))
            .await;
        let acked = stack.nats.consumer_named(consumer).await;
        let acked = acked.map(|info| info.ack_floor.stream_sequence);
        eprintln!("{database}.{table}: {rows} rows, acked {acked:?}");
        assert!(
            rows == 10 || acked.unwrap_or(0) == 0,
            "acked and not stored"
        );
    }
}

/// Rows whose insert had no receipt are in no cached answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_cached_answer_has_the_rows_of_an_insert_that_was_counted() {
    use testkit::redis::Redis;
    use testkit::wallets::{self, Servers, path, signal_of};
    let stack = Stack::start().await;
    let redis = Redis::start(&stack.work_dir()).await;
    let servers = Servers::start(&stack, &redis).await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let url = proxy.url();
    let _daemon = wallets::keeper(&stack, &redis, &[setting!(clickhouse.url = &url)]).await;
    let of = |number| vec![signal_of(number, "a", "risk_event", Duration::from_secs(1))];
    wallets::publish(&stack, of(1)).await;
    stack.settled().await;
    servers.hit("a").await;
    proxy.set_lie(Lie::StripHeaders);
    wallets::publish(&stack, of(2)).await;
    stack.settled().await;
    proxy.set_lie(Lie::None);
    let signals = async |is_cached: bool| {
        let server = if is_cached {
            &servers.cached
        } else {
            &servers.plain
        };
        server.get(&path("a")).await.json()["windows"]["24h"]["signals"].clone()
    };
    sleep(Duration::from_secs(5)).await;
    let (cached, plain) = (signals(true).await, signals(false).await);
    assert_eq!(cached, plain, "cached and in the table");
}
