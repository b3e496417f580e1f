//! Settings profiles, row policies and proxies that change what a query means.

use std::path::Path;
use std::time::Duration;

use risksignal::command::log_lines::{CLICKHOUSE_WRONG, STARTING};
use risksignal::pipeline::log_lines::{INSERT_REFUSED, SETTLE_UNANSWERED};
use tempfile::TempDir;
use testkit::meddler::{Meddler, Meddling};
use testkit::nats::{CLAIMS, CONSUMER, Options, STREAM};
use testkit::refusal::assert_refused;
use testkit::users::{User, file, login, stack_with};
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

/// Grants of the daemon's user in infra/clickhouse/grants.sql.
const LEAST: [&str; 4] = [
    "GRANT INSERT ON risksignal.raw_signals",
    "GRANT SELECT(stream_created_at, stream_seq, published_at, published_sub_ms, claim) ON risksignal.raw_signals",
    "GRANT SELECT ON risksignal.schema_migrations",
    "GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs",
];

/// Deletes the consumer and the claims log, so that every message is looked up before its claim.
async fn forget(stack: &Stack) {
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    // A daemon that was refused has created none.
    let _ = stream.delete_consumer(CONSUMER).await;
    let _ = jetstream.delete_stream(CLAIMS).await;
}

/// Short fences, so that a claims log that was deleted costs a short wait.
fn environment<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut environment = vec![
        setting!(consumer.ack_wait = "4s"),
        setting!(clickhouse.send_timeout = "1s"),
        setting!(clickhouse.end_timeout = "2s"),
        setting!(clickhouse.fence = "3s"),
        setting!(clickhouse.late_commit = "1s"),
        setting!(clickhouse.migrate = "false"),
    ];
    environment.extend(more);
    environment
}

/// A daemon whose claims have short fences, too.
async fn first_daemon(stack: &Stack) -> Daemon {
    let migrates = setting!(clickhouse.migrate = "true");
    stack.daemon(&environment(&[migrates])).await
}

/// The refusal of a daemon, or `None` once it pulls.
async fn refusal(daemon: &Daemon) -> Option<String> {
    let line = eventually("the daemon pulls or refuses", async || {
        let lines = daemon.lines().into_iter();
        let mut output = lines.filter(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message == CLICKHOUSE_WRONG || message == STARTING
        });
        output.next()
    })
    .await;
    line["error"].as_str().map(str::to_owned)
}

/// Lets a daemon with these settings take all messages once more, and returns the result.
async fn taken_again(stack: &Stack, more: &[(&str, &str)]) -> String {
    forget(stack).await;
    let mut daemon = stack.daemon_not_waited_for(&environment(more));
    if let Some(error) = refusal(&daemon).await {
        return error;
    }
    stack.settled().await;
    assert!(daemon.stop().await.success());
    format!("{} rows", stack.clickhouse.counts().await.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_profile_has_a_look_up_miss_a_row() {
    let cut = [
        (
            "result",
            "<max_result_rows>20</max_result_rows><result_overflow_mode>break</result_overflow_mode>",
        ),
        ("limit", "<limit>20</limit>"),
        ("offset", "<offset>20</offset>"),
        (
            "read",
            "<max_rows_to_read>1</max_rows_to_read><read_overflow_mode>break</read_overflow_mode>",
        ),
        (
            "leaf",
            "<max_rows_to_read_leaf>1</max_rows_to_read_leaf>\
             <read_overflow_mode_leaf>break</read_overflow_mode_leaf>",
        ),
        (
            "filters",
            "<additional_table_filters>{'risksignal.raw_signals': 'stream_seq > 20'}\
             </additional_table_filters>",
        ),
        ("extremes", "<extremes>1</extremes>"),
        (
            "empty",
            "<empty_result_for_aggregation_by_empty_set>1</empty_result_for_aggregation_by_empty_set>\
             <aggregate_functions_null_for_empty>1</aggregate_functions_null_for_empty>",
        ),
    ];
    let users = cut.map(|(name, profile)| User {
        name,
        profile,
        ..User::default()
    });
    let stack = stack_with(&users).await;
    let mut daemon = first_daemon(&stack).await;
    stack.produce(&["--count=60", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let mut outcomes = Vec::new();
    for (name, _) in cut {
        outcomes.push((name, taken_again(&stack, &login(name)).await));
    }
    let expected = cut.map(|(name, _)| (name, "60 rows".to_owned()));
    assert_eq!(outcomes, expected);
}

/// Behaves like chproxy's cache. ClickHouse's own, which a profile may turn on, does not exist in
/// libchdb.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_that_a_proxy_keeps_is_taken_for_a_look_up() {
    let stack = Stack::start().await;
    let mut daemon = first_daemon(&stack).await;
    stack.produce(&["--count=60", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    // The last row stays, so that the next daemon has all in doubt.
    let lost = "ALTER TABLE raw_signals DELETE WHERE stream_seq < 60 SETTINGS mutations_sync = 2";
    stack.clickhouse.execute(lost).await;
    let proxy = Meddler::before(stack.clickhouse.port(), Meddling::KeepAnswers).await;
    let url = proxy.url();
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        // A question for each message, so that the next daemon asks in the same words.
        let through = [
            setting!(clickhouse.url = url.as_str()),
            setting!(batch.max_rows = "1"),
        ];
        outcomes.push(taken_again(&stack, &through).await);
    }
    assert_eq!(outcomes, ["60 rows"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_forbids_a_setting_is_refused_by_the_settings_name() {
    let forbids = [
        (
            "const",
            "<limit>20</limit><extremes>1</extremes>\
             <constraints><limit><const/></limit><extremes><const/></extremes></constraints>",
            &["`limit`", "`extremes`"][..],
        ),
        (
            "readonly",
            "<readonly>1</readonly><limit>20</limit>",
            &["`limit`"][..],
        ),
        (
            "tokens",
            "<deduplicate_insert>disable</deduplicate_insert>",
            &["`deduplicate_insert`"][..],
        ),
    ];
    let users = forbids.map(|(name, profile, _)| User {
        name,
        profile,
        ..User::default()
    });
    let stack = stack_with(&users).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    for (name, _, settings) in forbids {
        let words = [settings, &["profile of clickhouse.user"]].concat();
        assert_refused(&stack, "clickhouse", &login(name), &words, &[]).await;
        let daemon = stack.daemon_not_waited_for(&environment(&login(name)));
        let error = refusal(&daemon).await.unwrap();
        for word in words {
            assert!(error.contains(word), "{word} in {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_policy_that_hides_rows_is_refused() {
    let policy = |name, filter| User {
        name,
        filter: Some(filter),
        grants: &LEAST,
        ..User::default()
    };
    let hides = policy("hides", "stream_seq % 2 = 0");
    let stack = stack_with(&[hides, policy("nothing", "1")]).await;
    let mut daemon = first_daemon(&stack).await;
    stack.produce(&["--count=60", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());

    let outcome = taken_again(&stack, &login("hides")).await;
    for word in ["row policy", "stream_seq MOD 2 = 0", "ROW POLICY"] {
        assert!(outcome.contains(word), "{word} in {outcome}");
    }
    let words = ["row policy", "stream_seq MOD 2 = 0"];
    assert_refused(&stack, "clickhouse", &login("hides"), &words, &[]).await;

    stack.produce(&["--count=1", "--seed=2"]).await;
    let mut daemon = stack.daemon(&environment(&login("nothing"))).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (61, 61));
    assert!(daemon.stop().await.success());
}

/// Writes the file of a user who sees only rows that match a filter.
fn seer(folder: &Path, filter: Option<&'static str>) -> String {
    let seer = User {
        name: "seer",
        filter,
        grants: &LEAST,
        ..User::default()
    };
    format!("--users={}", file(&[seer], folder).display())
}

/// A stack with a user who sees all rows, so far.
async fn with_seer() -> (Stack, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::with(Options::default(), &[seer(folder.path(), None)]).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    stack.nats.create_stream().await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    (stack, folder)
}

/// Hides every other row from the user of a running daemon for some seconds.
async fn hidden_for_a_while(stack: &Stack, folder: &TempDir, during: impl Future<Output = ()>) {
    seer(folder.path(), Some("stream_seq % 2 = 0"));
    stack.clickhouse.kill();
    stack.clickhouse.restart().await;
    during.await;
    seer(folder.path(), None);
    stack.clickhouse.kill();
    stack.clickhouse.restart().await;
}

const HIDES: &str = "a row policy hides rows";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_for_a_while_are_not_landed_again_by_reingest() {
    let (stack, folder) = with_seer().await;
    let daemon = stack.daemon(&environment(&login("seer"))).await;
    stack.settled().await;
    let reingested = async {
        let arguments = ["reingest", "--from=1", "--yes"];
        let done = stack.risksignal_with(&arguments, &environment(&[])).await;
        assert!(done.status.success(), "{done:?}");
        let refused = INSERT_REFUSED;
        let line = daemon.logged(refused).await;
        assert!(line["error"].as_str().unwrap().contains(HIDES), "{line}");
    };
    hidden_for_a_while(&stack, &folder, reingested).await;
    // Each message is looked up once more, and one that is new lands behind them.
    stack.produce(&["--count=1", "--seed=2"]).await;
    stack.settled().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stack.clickhouse.counts().await, (21, 21));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_while_their_claim_is_settled_are_not_landed_again() {
    let (stack, folder) = with_seer().await;
    let mut seer = login("seer").to_vec();
    // Its fence is over before anybody completes it.
    seer.push(setting!(clickhouse.late_commit = "15s"));
    // All of them are one batch: none closes in the first second.
    seer.push(setting!(batch.max_inserts_per_second = "1"));
    let seer = environment(&seer);
    let arguments = ["run", "--fault-point", "insert-answered"];
    let mut dying = Daemon::spawn(&arguments, &stack.environment(&seer), &stack.work_dir());
    assert!(dying.ended().await.code().is_none());
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    let daemon = stack.daemon(&seer).await;
    let waits = async {
        let waits = SETTLE_UNANSWERED;
        let line = daemon.logged(waits).await;
        assert!(line["error"].as_str().unwrap().contains(HIDES), "{line}");
    };
    hidden_for_a_while(&stack, &folder, waits).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
}

/// ClickHouse reads the projection by sequence for such a policy, and its plan then has another
/// word.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_policy_that_a_projection_answers_is_refused() {
    let newer = User {
        name: "newer",
        filter: Some("stream_seq &gt; 90000"),
        grants: &LEAST,
        ..User::default()
    };
    let stack = stack_with(&[newer]).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let fill = "INSERT INTO raw_signals (event_time, published_at, stream_created_at, stream_seq) \
                SELECT now() - number % 90 * 86400, now(), now(), number FROM numbers(100000)";
    stack.clickhouse.execute(fill).await;
    let words = ["row policy", "stream_seq"];
    assert_refused(&stack, "clickhouse", &login("newer"), &words, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_drops_the_settings_is_refused() {
    let stack = Stack::start().await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let proxy = Meddler::before(stack.clickhouse.port(), Meddling::DropSettings).await;
    let url = proxy.url();
    let through = [setting!(clickhouse.url = url.as_str())];
    assert_refused(&stack, "clickhouse", &through, &["proxy"], &[]).await;
    let daemon = stack.daemon_not_waited_for(&through);
    let error = refusal(&daemon).await.unwrap();
    assert!(error.contains("proxy"), "{error}");
}
