//! Metrics, health and status, asked as Prometheus and an orchestrator ask.

use testkit::clickhouse::PASSWORD;
use testkit::nats::DEAD_LETTERS;
use testkit::ops::{ANY_PORT, Ops, promtool_check, total, watched_daemon};
use testkit::process::free_port;
use testkit::prometheus::Prometheus;
use testkit::{Daemon, Stack, eventually, setting};

/// Every metric that the daemon has.
const NAMES: [&str; 49] = [
    "risksignal_signals_received_total",
    "risksignal_signals_received_bytes_total",
    "risksignal_signals_redelivered_total",
    "risksignal_signals_inserted_total",
    "risksignal_signals_duplicate_total",
    "risksignal_signals_dead_lettered_total",
    "risksignal_signals_valid_total",
    "risksignal_batches_inserted_total",
    "risksignal_inserted_bytes_total",
    "risksignal_batch_rows_bucket",
    "risksignal_batch_bytes_bucket",
    "risksignal_insert_duration_seconds_bucket",
    "risksignal_decode_duration_seconds_bucket",
    "risksignal_end_to_end_latency_seconds_bucket",
    "risksignal_insert_retries_total",
    "risksignal_claims_open",
    "risksignal_claims_taken_over_total",
    "risksignal_claims_settled_total",
    "risksignal_claims_split_total",
    "risksignal_claims_foreign_total",
    "risksignal_claims_tokens",
    "risksignal_claims_tokens_limit",
    "risksignal_messages_lost_total",
    "risksignal_circuit_open",
    "risksignal_pulling_halted",
    "risksignal_in_flight_messages",
    "risksignal_in_flight_bytes",
    "risksignal_consumer_ack_pending_messages",
    "risksignal_consumer_pending_messages",
    "risksignal_consumer_oldest_age_seconds",
    "risksignal_consumer_paused",
    "risksignal_stream_messages",
    "risksignal_stream_last_sequence",
    "risksignal_stream_bytes",
    "risksignal_jetstream_bytes",
    "risksignal_jetstream_limit_bytes",
    "risksignal_nats_reconnects_total",
    "risksignal_http_unanswered_signals",
    "risksignal_connections_cut_total",
    "risksignal_spans_exported_total",
    "risksignal_spans_dropped_total",
    "risksignal_ready",
    "risksignal_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    "process_threads",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_those_of_clickhouse() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[ANY_PORT]).await;
    let ops = Ops::of(&daemon).await;
    stack
        .produce(&["--count=20000", "--invalid=5", "--seed=6"])
        .await;
    stack.settled().await;
    let text = eventually("the sampled figures are of now", async || {
        let text = ops.get("/metrics").await.body;
        let held = total(&text, "risksignal_in_flight_messages")?
            + total(&text, "risksignal_consumer_ack_pending_messages")?
            + total(&text, "risksignal_consumer_pending_messages")?;
        (held == 0.0).then_some(text)
    })
    .await;
    for name in NAMES {
        assert!(total(&text, name).is_some(), "{name} is missing:\n{text}");
    }
    let (rows, _) = stack.clickhouse.counts().await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    assert!(letters > 500, "{letters}");
    let batches = total(&text, "risksignal_batches_inserted_total").unwrap();
    for (name, expected) in [
        ("risksignal_signals_received_total", (rows + letters) as f64),
        ("risksignal_signals_inserted_total", rows as f64),
        ("risksignal_signals_valid_total", rows as f64),
        ("risksignal_batch_rows_sum", rows as f64),
        ("risksignal_end_to_end_latency_seconds_count", rows as f64),
        ("risksignal_signals_dead_lettered_total", letters as f64),
        ("risksignal_batch_rows_count", batches),
        ("risksignal_insert_duration_seconds_count", batches),
        ("risksignal_signals_duplicate_total", 0.0),
        ("risksignal_ready", 1.0),
    ] {
        assert_eq!(total(&text, name), Some(expected), "{name}");
    }
    for (severity, count) in stack
        .clickhouse
        .rows::<(u8, u64)>("SELECT severity, count() FROM raw_signals GROUP BY severity")
        .await
    {
        let label = format!("severity=\"{severity}\"");
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("signals_valid_total{") && line.contains(&label))
            .collect();
        let printed = total(&lines.join("\n"), "risksignal_signals_valid_total");
        assert_eq!(printed, Some(count as f64), "severity {severity}");
    }
    let checked = promtool_check(&text);
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stderr.is_empty(), "{checked:?}");
    let status = ops.get("/statusz").await.json();
    assert_eq!(status["health"]["ready"], true);
    assert_eq!(status["last_batches"].as_array().unwrap().len().min(1), 1);
    assert!(status["last_batches"][0]["rows"].as_u64().unwrap() > 0);
    assert_eq!(status["last_dead_letters"].as_array().unwrap().len(), 10);
    // Letters of several claims are stored side by side.
    let newest = status["last_dead_letters"][0]["dead_letter_seq"].as_u64();
    assert!(
        newest.is_some_and(|newest| (1..=letters).contains(&newest)),
        "{newest:?}"
    );
    scraped_by_prometheus(&stack, &ops, rows).await;
    assert!(daemon.stop().await.success());
}

/// A real Prometheus scrapes the daemon and has its figures.
async fn scraped_by_prometheus(stack: &Stack, ops: &Ops, rows: u64) {
    let dir = stack.work_dir();
    let config = dir.join("prometheus.yml");
    let scrape = format!(
        "scrape_configs:\n- job_name: risksignal\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}']\n",
        ops.address
    );
    std::fs::write(&config, scrape).unwrap();
    let prometheus = Prometheus::start(&config).await;
    for (query, expected) in [
        ("up", 1.0),
        ("risksignal_signals_inserted_total", rows as f64),
        ("sum(risksignal_signals_valid_total)", rows as f64),
        ("risksignal_ready", 1.0),
    ] {
        let value = eventually(query, async || {
            prometheus.query(query).await.first().copied()
        });
        assert_eq!(value.await, expected, "{query}");
    }
    let quantile =
        "histogram_quantile(0.99, rate(risksignal_end_to_end_latency_seconds_bucket[1m]))";
    eventually("the histogram can be asked", async || {
        prometheus.query(quantile).await.first().copied()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_only_while_it_can_ingest() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = watched_daemon(&stack).await;
    let ready = ops.ready(true).await;
    assert_eq!(ready["reason"], serde_json::Value::Null);
    for dependency in ["pipeline", "nats", "jetstream", "clickhouse", "schema"] {
        assert_eq!(ready["dependencies"][dependency]["state"], "up");
    }

    // Idle: only the daemon's own look finds it.
    stack.clickhouse.kill();
    let reason = ops.down("clickhouse").await;
    assert!(reason.contains("cannot"), "{reason}");
    stack.clickhouse.restart().await;
    ops.ready(true).await;

    // Under way: ClickHouse's words.
    stack
        .clickhouse
        .execute("RENAME TABLE raw_signals TO mislaid")
        .await;
    stack.produce(&["--count=1000", "--seed=7"]).await;
    let reason = ops.down("schema").await;
    assert!(reason.contains("raw_signals"), "{reason}");
    eventually("pulling is halted", async || {
        (ops.metric("risksignal_pulling_halted").await? == 1.0).then_some(())
    })
    .await;
    assert!(ops.metric("risksignal_insert_retries_total").await.unwrap() > 0.0);
    stack
        .clickhouse
        .execute("RENAME TABLE mislaid TO raw_signals")
        .await;
    ops.ready(true).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (1000, 1000));
    assert_eq!(ops.metric("risksignal_pulling_halted").await, Some(0.0));

    stack.nats.kill();
    let reason = ops.down("nats").await;
    assert!(reason.contains("connection"), "{reason}");
    stack.nats.restart().await;
    ops.ready(true).await;
    assert!(
        ops.metric("risksignal_nats_reconnects_total")
            .await
            .unwrap()
            >= 1.0
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_start_says_why() {
    let stack = Stack::start().await;
    let wrong = [
        ANY_PORT,
        setting!(clickhouse.password = "tellme-not-clickhouse"),
    ];
    let mut daemon = stack.daemon_not_waited_for(&wrong);
    let ops = Ops::of(&daemon).await;
    assert_eq!(ops.get("/livez").await.status, 200);
    let reason = ops.down("clickhouse").await;
    assert!(reason.contains("516"), "{reason}");
    let report = ops.get("/readyz").await.json();
    assert_eq!(report["dependencies"]["pipeline"]["state"], "waiting");
    for path in ["/readyz", "/statusz", "/metrics"] {
        assert!(!ops.get(path).await.body.contains("tellme"), "{path}");
    }
    daemon.assert_running();
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_asked_for_and_no_secret_is_shown() {
    let stack = Stack::start().await;
    let secrets = [
        ANY_PORT,
        setting!(ops.token = "tellme-not-ops"),
        setting!(nats.user = "app"),
        setting!(nats.password = PASSWORD),
    ];
    let mut daemon = stack.daemon(&secrets).await;
    let ops = Ops::of(&daemon).await;
    ops.ready(true).await;
    assert_eq!(ops.get("/livez").await.status, 200);
    let bearer = [("authorization", "Bearer tellme-not-ops")];
    let wrong = [("authorization", "Bearer tellme")];
    for path in ["/", "/page.js", "/metrics", "/statusz"] {
        assert_eq!(ops.get(path).await.status, 401, "{path}");
        assert_eq!(ops.get_with(path, &wrong).await.status, 401, "{path}");
        let answer = ops.get_with(path, &bearer).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains("tellme"), "{path}");
        assert!(!answer.body.contains(PASSWORD), "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(ops.get("/events").await.status, 401);
    let status = ops.get_with("/statusz", &bearer).await.json();
    assert_eq!(status["settings"]["batch.max_rows"], "20000");
    assert_eq!(status["settings"]["ops.token"], "***");
    let long = "x".repeat(32 * 1024);
    assert_eq!(
        ops.get_with("/livez", &[("x-long", &long)]).await.status,
        431
    );
    for secret in ["tellme", PASSWORD] {
        assert!(!daemon.output().contains(secret), "{}", daemon.output());
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_pages_are_bounded_and_the_others_are_still_answered() {
    let dir = tempfile::tempdir().unwrap();
    // It waits for its servers, and answers meanwhile.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let environment = [
        ANY_PORT,
        setting!(clickhouse.url = nowhere.as_str()),
        setting!(log.format = "json"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut daemon = Daemon::spawn(&["run"], &environment, dir.path());
    let ops = Ops::of(&daemon).await;
    let mut pages = Vec::new();
    for _ in 0..32 {
        let page = ops.open("/events").await;
        assert_eq!(page.status(), 200);
        pages.push(page);
    }
    assert_eq!(ops.get("/events").await.status, 503);
    assert_eq!(ops.get("/livez").await.status, 200);
    pages.clear();
    eventually("a page that is closed makes room", async || {
        (ops.open("/events").await.status() == 200).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_reported_at_the_start() {
    let stack = Stack::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut daemon = stack.daemon_not_waited_for(&[setting!(ops.listen = &address)]);
    assert_eq!(daemon.ended().await.code(), Some(1));
    let output = daemon.output();
    assert!(
        output.contains(&format!("cannot listen on {address} (ops.listen)")),
        "{output}"
    );
}
