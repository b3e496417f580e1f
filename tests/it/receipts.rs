//! Proofs that ClickHouse has a batch, and answers that are none.

use risksignal::command::log_lines::{CLICKHOUSE_WRONG, STARTING};
use risksignal::pipeline::log_lines::{INSERT_FAILED, SETTLED, VIEW_REFUSED};
use testkit::hold_renames::HoldRenames;
use testkit::lying_proxy::{Lie, LyingProxy};
use testkit::nats::{DEAD_LETTERS, Options};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, repository, setting};

/// Short leases, and pauses in which a test need not wait long.
const SHORT: [(&str, &str); 6] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "6s"),
    setting!(consumer.max_deliver = "0"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "3s"),
    setting!(clickhouse.retry_max = "500ms"),
];

/// Fences that are over soon.
const FENCES: [(&str, &str); 2] = [
    setting!(clickhouse.fence = "5s"),
    setting!(clickhouse.late_commit = "1s"),
];

/// A daemon that comes to ClickHouse through a proxy.
async fn behind(stack: &Stack, proxy: &LyingProxy) -> Daemon {
    let url = proxy.url();
    let mut settings = SHORT.to_vec();
    settings.push(setting!(clickhouse.url = &url));
    stack.daemon(&settings).await
}

/// The errors of inserts that failed, from a daemon's log.
fn failures(daemon: &Daemon) -> Vec<String> {
    daemon
        .lines()
        .iter()
        .filter(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("Insert failed") || message.starts_with("Insert refused")
        })
        .map(|line| line["error"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_clickhouses_is_no_commit() {
    let stack = Stack::start().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let mut daemon = behind(&stack, &proxy).await;
    let mut published = 0;
    let html = "<html><body>a page that nobody wants to read</body></html>";
    for (status, kind, body) in [
        (200, "text/plain", "Code: 241. DB::Exception: no memory"),
        (200, "text/html", html),
        (200, "text/plain", ""),
        (502, "text/html", html),
        (504, "text/html", html),
        (403, "text/html", html),
    ] {
        let lied = proxy.lied();
        proxy.set_lie(Lie::Answer(status, kind, body));
        let seed = format!("--seed={published}");
        stack.produce(&["--count=50", &seed]).await;
        eventually("the proxy was asked twice", async || {
            (proxy.lied() >= lied + 2).then_some(())
        })
        .await;
        let consumer = stack.nats.consumer().await.unwrap();
        let held = consumer.num_pending + consumer.num_ack_pending as u64;
        assert_eq!(held, 50, "{status} {body:?}");
        assert_eq!(stack.clickhouse.counts().await, (published, published));
        proxy.set_lie(Lie::None);
        stack.settled().await;
        published += 50;
        let counts = stack.clickhouse.counts().await;
        assert_eq!(counts, (published, published), "{status} {body:?}");
        let failures = failures(&daemon);
        let named = failures.iter().any(|error| {
            error.contains(&format!("answered {status}")) && error.contains(&proxy.url())
        });
        assert!(named, "{status} in {failures:#?}");
        assert!(!daemon.output().contains("nobody wants"));
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_clickhouses_headers_or_with_anothers_is_no_commit() {
    let stack = Stack::start().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let mut daemon = behind(&stack, &proxy).await;
    let mut published = 0;
    for (lie, words) in [
        (Lie::StripHeaders, "answered 200 without ClickHouse's"),
        (Lie::OtherQuery, "answered 200 for another query"),
        (Lie::FewerRows, "answered 200 with 0 of"),
    ] {
        proxy.set_lie(lie);
        let seed = format!("--seed={published}");
        stack.produce(&["--count=50", &seed]).await;
        published += 50;
        // The rows are there, which only a look-up can find.
        stack.settled().await;
        let counts = stack.clickhouse.counts().await;
        assert_eq!(counts, (published, published), "{lie:?}");
        let failures = failures(&daemon);
        let named = failures.iter().any(|error| error.contains(words));
        assert!(named, "{words} in {failures:#?}");
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_strips_the_headers_is_named_before_anything_is_pulled() {
    let stack = Stack::start().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let url = proxy.url();
    let settings = [
        setting!(clickhouse.url = url.as_str()),
        setting!(clickhouse.retry_max = "500ms"),
    ];
    proxy.set_lie(Lie::StripHeaders);
    stack.produce(&["--count=50", "--seed=1"]).await;
    let mut daemon = stack.daemon_not_waited_for(&settings);
    let line = daemon.logged(CLICKHOUSE_WRONG).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("without ClickHouse's"), "{error}");
    assert!(error.contains(&url) && error.contains("proxy"), "{error}");
    let check = stack.risksignal_with(&["check"], &settings).await;
    let output = String::from_utf8(check.stdout).unwrap();
    let wrong = output
        .lines()
        .find(|line| line.starts_with("clickhouse") && line.contains("WRONG"));
    let wrong = wrong.unwrap_or_else(|| panic!("{output}"));
    assert!(wrong.contains("without ClickHouse's"), "{wrong}");
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(stack.clickhouse.counts().await, (0, 0));

    proxy.set_lie(Lie::None);
    daemon.logged(STARTING).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
    let check = stack.risksignal_with(&["check"], &settings).await;
    assert!(check.status.success(), "{check:?}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_insert_is_an_lz4_frame() {
    let stack = Stack::start().await;
    let proxy = LyingProxy::before(stack.clickhouse.port()).await;
    let url = proxy.url();
    for (compression, encoding, rows) in [("lz4", Some("lz4"), 20_000), ("none", None, 20_200)] {
        let settings = [
            setting!(clickhouse.url = url.as_str()),
            setting!(clickhouse.compression = compression),
        ];
        let mut daemon = stack.daemon(&settings).await;
        let count = if encoding.is_some() { 20_000 } else { 200 };
        let count = format!("--count={count}");
        stack.produce(&[&count, &format!("--seed={rows}")]).await;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (rows, rows));
        let headers = proxy.last_insert();
        let found = headers.get("content-encoding");
        assert_eq!(found.map(|found| found.to_str().unwrap()), encoding);
        assert!(failures(&daemon).is_empty());
        assert!(daemon.stop().await.success());
    }
    let bad = "SELECT count() FROM raw_signals WHERE payload NOT LIKE '{%}'";
    assert_eq!(stack.clickhouse.number(bad).await, 0);
}

/// A file of users whose profile has these settings.
pub fn profile(folder: &std::path::Path, settings: &str) -> String {
    let shipped = repository("infra/clickhouse/users.d/risksignal.xml");
    let users = std::fs::read_to_string(shipped).unwrap();
    let profile = format!("<default>{settings}</default>");
    let path = folder.join("users.xml");
    std::fs::write(&path, users.replacen("<default/>", &profile, 1)).unwrap();
    format!("--users={}", path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_breaks_off_slow_inserts_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let users = profile(
        folder.path(),
        "<timeout_overflow_mode>break</timeout_overflow_mode>",
    );
    let stack = Stack::with(Options::default(), &[users]).await;
    stack.risksignal(&["migrate"]).await;
    // 100 rows take 2 s to check, 50 one. ClickHouse looks at its limit once a second, so that the
    // daemon's own time-out may come first.
    let slow = "ALTER TABLE raw_signals ADD CONSTRAINT slow CHECK sleepEachRow(0.02) = 0";
    stack.clickhouse.execute(slow).await;
    stack.nats.create_stream().await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    let mut settings = SHORT.to_vec();
    settings.extend(FENCES);
    settings.push(setting!(clickhouse.end_timeout = "1500ms"));
    settings.push(setting!(clickhouse.max_concurrent_inserts = "1"));
    // All of them are one batch: none closes in the first second.
    settings.push(setting!(batch.max_inserts_per_second = "1"));
    let mut daemon = stack.daemon(&settings).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 0);
    let failures = failures(&daemon);
    let is_named = |error: &String| error.contains("Code: 159") || error.contains("timeout");
    assert!(failures.iter().any(is_named), "{failures:#?}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_clickhouse_has_no_memory_for_is_halved() {
    let folder = tempfile::tempdir().unwrap();
    let users = profile(
        folder.path(),
        "<max_memory_usage>24000000</max_memory_usage>",
    );
    let stack = Stack::with(Options::default(), &[users]).await;
    stack.nats.create_stream().await;
    let mut settings = SHORT.to_vec();
    settings.push(setting!(clickhouse.end_timeout = "3s"));
    let nats = stack.nats.jetstream().await;
    for number in 0..64 {
        let mut signal = signal(number);
        signal["payload"]["long"] = "x".repeat(500_000).into();
        let body = signal.to_string().into();
        let sent = nats.publish("signals.risk_event", body).await;
        sent.unwrap().await.unwrap();
    }
    let mut daemon = stack.daemon(&settings).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (64, 64));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 0);
    let failures = failures(&daemon);
    let named = failures.iter().any(|error| error.contains("Code: 241"));
    assert!(named, "{failures:#?}");
    // A batch of 32 MB is halved five times at most, and never goes again as it was for long.
    assert!(failures.len() <= 40, "{} failures", failures.len());
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_quotes_the_deadline_is_refused_alone() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals ADD CONSTRAINT no_quote CHECK payload NOT LIKE '%risksignal: the deadline%'")
        .await;
    stack.nats.create_stream().await;
    let nats = stack.nats.jetstream().await;
    for number in 0..30 {
        let mut signal = signal(number);
        if number == 7 {
            signal["payload"]["quoted"] = "risksignal: the deadline of this insert is over".into();
        }
        let body = signal.to_string().into();
        let sent = nats.publish("signals.risk_event", body).await;
        sent.unwrap().await.unwrap();
    }
    let mut daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (29, 29));
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].payload.windows(6).any(|text| text == b"quoted"));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_refuses_a_row_is_named_and_the_row_lands_once() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    for sql in [
        "CREATE TABLE kept (refused UInt8, stream_seq UInt64) ENGINE = MergeTree ORDER BY stream_seq",
        "CREATE MATERIALIZED VIEW picky TO kept AS SELECT throwIf(source_id = 'seven', 'no seven') AS refused, stream_seq FROM raw_signals",
    ] {
        stack.clickhouse.execute(sql).await;
    }
    stack.nats.create_stream().await;
    let mut settings = SHORT.to_vec();
    settings.push(setting!(ops.listen = "127.0.0.1:0"));
    let mut daemon = stack.daemon(&settings).await;
    let mut refused = signal(7);
    refused["source_id"] = "seven".into();
    let nats = stack.nats.jetstream().await;
    let sent = nats
        .publish("signals.risk_event", refused.to_string().into())
        .await;
    sent.unwrap().await.unwrap();
    eventually("the row is there", async || {
        (stack.clickhouse.counts().await == (1, 1)).then_some(())
    })
    .await;
    // Once others are taken, a refused row is to blame.
    stack.produce(&["--count=500", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (501, 501));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 0);
    let kept = "SELECT count() FROM kept";
    assert_eq!(stack.clickhouse.number(kept).await, 500);
    let line = daemon.logged(VIEW_REFUSED).await;
    assert_eq!(line["view"], "risksignal.picky");
    assert!(line["error"].as_str().unwrap().contains("Code: 395"));
    assert!(daemon.stop().await.success());
}

/// Plain MergeTree writes the token before the part appears. Killed between the two, ClickHouse
/// answers the retry as if it had the rows.
#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_between_token_and_part_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let held = HoldRenames::compiled_in(folder.path());
    let stack = Stack::with_clickhouse(Options::default(), &[], held.environment()).await;
    let mut daemon = stack.daemon(&[SHORT.as_slice(), &FENCES].concat()).await;
    held.hold();
    stack.produce(&["--count=50", "--seed=1"]).await;
    held.reached().await;
    stack.clickhouse.kill();
    held.release();
    stack.clickhouse.restart().await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
    // The retry was answered 200, and the table lacks the rows.
    daemon.logged(SETTLED).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_between_token_and_part_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let held = HoldRenames::compiled_in(folder.path());
    let stack = Stack::with_clickhouse(Options::default(), &[], held.environment()).await;
    let mut daemon = stack.daemon(&SHORT).await;
    held.fail();
    stack.produce(&["--count=50", "--seed=1"]).await;
    held.reached().await;
    held.release();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
    assert!(daemon.stop().await.success());
}

/// The daemon gives up on an insert whose token is written, and the part appears later.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_appears_after_the_time_out_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let held = HoldRenames::compiled_in(folder.path());
    let stack = Stack::with_clickhouse(Options::default(), &[], held.environment()).await;
    let mut settings = SHORT.to_vec();
    settings.push(setting!(clickhouse.end_timeout = "1s"));
    let mut daemon = stack.daemon(&settings).await;
    held.hold();
    stack.produce(&["--count=50", "--seed=1"]).await;
    held.reached().await;
    daemon.logged(INSERT_FAILED).await;
    held.release();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
    assert!(daemon.stop().await.success());
}
