//! The configuration of Prometheus, the alerts and the dashboards that ship, against a real
//! Prometheus that scrapes a real run.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testkit::clickhouse::PASSWORD;
use testkit::crowd::Crowd;
use testkit::nats::DEAD_LETTERS;
use testkit::ops::prometheus_program;
use testkit::process::free_port;
use testkit::prometheus::Prometheus;
use testkit::redis::Redis;
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, repository, setting};

const DASHBOARDS: [&str; 2] = ["pipeline.json", "storage.json"];
/// The instances of docker-compose.yml in `prometheus.yml`.
const DISCOVERY: &str = "dns_sd_configs:
      - names: [ingest]
        type: A
        port: 9464
        refresh_interval: 5s";
/// Every alert, as the run below has them fire.
const ALERTS: [&str; 17] = [
    "RiskSignalCacheStale",
    "RiskSignalClaimsLogIntruder",
    "RiskSignalClaimsWindowFilling",
    "RiskSignalConnectionsCut",
    "RiskSignalConsumerPaused",
    "RiskSignalDeadLettersRising",
    "RiskSignalDown",
    "RiskSignalHistoryHeld",
    "RiskSignalHistoryNeverPurged",
    "RiskSignalLagGrowing",
    "RiskSignalMessagesLost",
    "RiskSignalNoInserts",
    "RiskSignalNotReady",
    "RiskSignalPayloadsFaulty",
    "RiskSignalStorageFilling",
    "RiskSignalStorageFull",
    "RiskSignalViewRefuses",
];

fn infra(path: &str) -> PathBuf {
    repository("infra").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(infra(path)).unwrap()
}

/// Replaces what must be there.
fn with(text: &str, replacements: &[(&str, &str)]) -> String {
    replacements
        .iter()
        .fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from} is missing:\n{text}");
            text.replace(from, to)
        })
}

#[test]
fn each_alert_fires_and_resolves_by_its_unit_tests() {
    for (command, file) in [
        (["check", "config"], "prometheus/prometheus.yml"),
        (["check", "rules"], "prometheus/rules.yml"),
        (["test", "rules"], "prometheus/rules_test.yml"),
    ] {
        let done = Command::new(prometheus_program("promtool"))
            .args(command)
            .arg(infra(file))
            .output()
            .unwrap();
        assert!(done.status.success(), "{file}: {done:?}");
    }
    let tests = text("prometheus/rules_test.yml");
    for alert in ALERTS {
        // As nothing, `}` follows; as firing, what is expected does.
        for expected in [" }\n", "\n        exp_alerts:"] {
            let line = format!("alertname: {alert}{expected}");
            assert!(tests.contains(&line), "{line}");
        }
    }
}

/// The shipped files, with the addresses of this run and with shorter times.
async fn start_prometheus(stack: &Stack, daemon: &str) -> Prometheus {
    let dir = stack.work_dir();
    let clickhouse = format!("127.0.0.1:{}", stack.clickhouse.port());
    let targets = format!("static_configs:\n      - targets: [\"{daemon}\"]");
    let config = with(
        &text("prometheus/prometheus.yml"),
        &[
            (DISCOVERY, &targets),
            ("clickhouse:8123", &clickhouse),
            ("scrape_interval: 15s", "scrape_interval: 2s"),
            ("evaluation_interval: 15s", "evaluation_interval: 2s"),
            ("scrape_interval: 1m", "scrape_interval: 5s"),
            ("scrape_timeout: 20s", "scrape_timeout: 5s"),
        ],
    );
    let rules = with(
        &text("prometheus/rules.yml"),
        &[
            ("[5m]", "[20s]"),
            ("[10m]", "[20s]"),
            ("for: 1m", "for: 2s"),
            ("for: 2m", "for: 2s"),
            ("for: 5m", "for: 2s"),
            ("for: 10m", "for: 2s"),
        ],
    );
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    std::fs::write(dir.join("rules.yml"), rules).unwrap();
    Prometheus::start(&dir.join("prometheus.yml")).await
}

/// Each target's query with its panel, of one dashboard.
fn queries(dashboard: &str) -> Vec<(String, String)> {
    let board: Value =
        serde_json::from_str(&text(&format!("grafana/dashboards/{dashboard}"))).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$__rate_interval", "20s")
                .replace("[5m]", "[20s]");
            assert!(!query.contains('$'), "{title}: {query}");
            queries.push((format!("{dashboard}, {title}: {query}"), query));
        }
    }
    assert!(queries.len() > 10, "{dashboard}");
    queries
}

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            ["risksignal_", "clickhouse_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .map(str::to_owned)
        .collect()
}

async fn assert_no_panel_is_empty(prometheus: &Prometheus) {
    for (what, query) in DASHBOARDS.into_iter().flat_map(queries) {
        eventually(&what, async || {
            let values = prometheus.query(&query).await;
            values.iter().any(|value| value.is_finite()).then_some(())
        })
        .await;
    }
    let known = prometheus.api("label/__name__/values").await;
    let known: BTreeSet<String> = serde_json::from_value(known).unwrap();
    let mut named = BTreeSet::new();
    for (_, query) in DASHBOARDS.into_iter().flat_map(queries) {
        named.extend(metrics(&query));
    }
    let rules = prometheus.api("rules").await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let alerts: Vec<&str> = rules
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        alerts.iter().copied().collect::<BTreeSet<_>>(),
        ALERTS.into()
    );
    for rule in rules {
        named.extend(metrics(rule["query"].as_str().unwrap()));
    }
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Waits until an alert fires, or no longer does.
async fn alert(prometheus: &Prometheus, name: &str, fires: bool) {
    alert_of(prometheus, name, "", fires).await;
}

/// Like [`alert`], of one storage: ClickHouse's disk is this machine's, and may be full.
async fn alert_of(prometheus: &Prometheus, name: &str, storage: &str, fires: bool) {
    eventually(&format!("{name} fires: {fires}"), async || {
        let data = prometheus.api("alerts").await;
        let alerts = data["alerts"].as_array().unwrap();
        let firing = alerts.iter().any(|alert| {
            let labels = &alert["labels"];
            let is_of = storage.is_empty() || labels["storage"] == storage;
            is_of && labels["alertname"] == name && alert["state"] == "firing"
        });
        (firing == fires).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_and_every_alert_fires_and_resolves() {
    let stack = Stack::start().await;
    let address = format!("127.0.0.1:{}", free_port());
    let redis = Redis::start(&stack.work_dir()).await;
    let url = redis.url();
    let environment = [
        setting!(cache.url = url.as_str()),
        setting!(ops.listen = address.as_str()),
        setting!(ops.token = PASSWORD),
        setting!(stream.max_bytes = "1GiB"),
        setting!(clickhouse.retry_max = "1s"),
        setting!(clickhouse.end_timeout = "2s"),
    ];
    let mut daemon = stack.daemon(&environment).await;
    let prometheus = start_prometheus(&stack, &address).await;
    // One part that is large enough for ClickHouse to report the sizes of its columns.
    stack.produce(&["--count=60000", "--seed=8"]).await;
    stack.settled().await;
    stack
        .clickhouse
        .execute("OPTIMIZE TABLE raw_signals FINAL")
        .await;

    let faulty = stack.work_dir().join("faulty.ndjson");
    let lines = (0..6000).map(|number| {
        let mut signal = signal(number);
        signal["payload"] = serde_json::json!({ "score": 2 });
        format!("{signal}\n")
    });
    std::fs::write(&faulty, lines.collect::<String>()).unwrap();
    let faulty = format!("--file={}", faulty.display());
    stack.produce(&[&faulty, "--count=10"]).await;

    let produce = |arguments: &[&str]| {
        let all = [&["produce", "--count=0"], arguments].concat();
        Daemon::spawn(&all, &stack.environment(&[]), &stack.work_dir())
    };
    let invalid = produce(&["--rate=500", "--invalid=20"]);
    alert(&prometheus, "RiskSignalDeadLettersRising", true).await;
    assert_no_panel_is_empty(&prometheus).await;
    for quiet in [
        "RiskSignalCacheStale",
        "RiskSignalClaimsLogIntruder",
        "RiskSignalClaimsWindowFilling",
        "RiskSignalConnectionsCut",
        "RiskSignalDown",
        "RiskSignalMessagesLost",
        "RiskSignalNotReady",
        "RiskSignalNoInserts",
        "RiskSignalPayloadsFaulty",
        "RiskSignalViewRefuses",
    ] {
        alert(&prometheus, quiet, false).await;
    }
    drop(invalid);
    let valid = produce(&["--rate=200", "--seed=9"]);
    let sending = Daemon::spawn(
        &["produce", &faulty, "--rate=100"],
        &stack.environment(&[]),
        &stack.work_dir(),
    );
    alert(&prometheus, "RiskSignalPayloadsFaulty", true).await;
    drop(sending);
    alert(&prometheus, "RiskSignalPayloadsFaulty", false).await;
    redis.kill();
    alert(&prometheus, "RiskSignalCacheStale", true).await;
    redis.restart().await;
    alert(&prometheus, "RiskSignalCacheStale", false).await;

    stack
        .clickhouse
        .execute("CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY no AS SELECT throwIf(1, 'no') AS no FROM raw_signals")
        .await;
    alert(&prometheus, "RiskSignalViewRefuses", true).await;
    stack.clickhouse.execute("DROP VIEW picky").await;
    alert(&prometheus, "RiskSignalViewRefuses", false).await;

    let away = [
        "RiskSignalNotReady",
        "RiskSignalNoInserts",
        "RiskSignalLagGrowing",
    ];
    stack.clickhouse.kill();
    for name in away {
        alert(&prometheus, name, true).await;
    }
    stack.clickhouse.restart().await;
    for name in away {
        alert(&prometheus, name, false).await;
    }
    alert(&prometheus, "RiskSignalDeadLettersRising", false).await;
    drop(valid);
    stack.settled().await;

    alert_of(&prometheus, "RiskSignalStorageFilling", DEAD_LETTERS, false).await;
    let near = |bytes: u64| i64::try_from(bytes + bytes / 10).unwrap();
    let bytes = stack.nats.bound_stream(DEAD_LETTERS, near).await;
    assert!(bytes > 0);
    alert_of(&prometheus, "RiskSignalStorageFilling", DEAD_LETTERS, true).await;
    stack.nats.bound_stream(DEAD_LETTERS, |_| -1).await;
    alert_of(&prometheus, "RiskSignalStorageFilling", DEAD_LETTERS, false).await;

    // More than one client may have: each takes the place of another one.
    let crowd = Crowd::from(Ipv4Addr::LOCALHOST, &address, 400).await;
    alert(&prometheus, "RiskSignalConnectionsCut", true).await;
    drop(crowd);
    alert(&prometheus, "RiskSignalConnectionsCut", false).await;

    assert!(daemon.stop().await.success());
    alert(&prometheus, "RiskSignalDown", true).await;
    let mut daemon = stack.daemon(&environment).await;
    alert(&prometheus, "RiskSignalDown", false).await;
    assert!(daemon.stop().await.success());
}
