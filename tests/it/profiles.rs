//! Settings profiles, row policies and proxies that change what a query means.

use crate::harness::meddler::{Meddler, Meddling};
use crate::harness::nats::{CLAIMS, CONSUMER, STREAM};
use crate::harness::refusal::assert_refused;
use crate::harness::users::{User, login, stack_with};
use crate::harness::{Daemon, Stack, eventually};

const REFUSED: &str = "ClickHouse is not as it should be; no signal is pulled until it is";
/// What the daemon's user may do by infra/clickhouse/grants.sql.
const LEAST: [&str; 4] = [
    "GRANT INSERT ON risksignal.raw_signals",
    "GRANT SELECT(stream_created_at, stream_seq, published_at, published_sub_ms, claim) ON risksignal.raw_signals",
    "GRANT SELECT ON risksignal.schema_migrations",
    "GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs",
];

/// Deletes the consumer and the claims log, so that every message is looked up before it is claimed.
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
        ("RISKSIGNAL__CONSUMER__ACK_WAIT", "4s"),
        ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "1s"),
        ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "2s"),
        ("RISKSIGNAL__CLICKHOUSE__FENCE", "3s"),
        ("RISKSIGNAL__CLICKHOUSE__LATE_COMMIT", "1s"),
        ("RISKSIGNAL__CLICKHOUSE__MIGRATE", "false"),
    ];
    environment.extend(more);
    environment
}

/// A daemon whose claims have short fences, too.
async fn first_daemon(stack: &Stack) -> Daemon {
    let migrates = ("RISKSIGNAL__CLICKHOUSE__MIGRATE", "true");
    stack.daemon(&environment(&[migrates])).await
}

/// The refusal of a daemon, or `None` once it pulls.
async fn refusal(daemon: &Daemon) -> Option<String> {
    let line = eventually("the daemon pulls or refuses", async || {
        let lines = daemon.lines().into_iter();
        let mut told = lines.filter(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message == REFUSED || message == "Starting signals consumer"
        });
        told.next()
    })
    .await;
    line["error"].as_str().map(str::to_owned)
}

/// Has a daemon with these settings take all messages once more, and says what came of it.
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

/// As chproxy's cache does. ClickHouse's own, which a profile may turn on, does not exist in libchdb.
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
            ("CLICKHOUSE_URL", url.as_str()),
            ("RISKSIGNAL__BATCH__MAX_ROWS", "1"),
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

/// ClickHouse reads the projection by sequence for such a policy, and its plan then has another word.
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
    let through = [("CLICKHOUSE_URL", url.as_str())];
    assert_refused(&stack, "clickhouse", &through, &["proxy"], &[]).await;
    let daemon = stack.daemon_not_waited_for(&through);
    let error = refusal(&daemon).await.unwrap();
    assert!(error.contains("proxy"), "{error}");
}
