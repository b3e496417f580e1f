//! `validation.payload`: payloads that do not keep the contract of their type.

use risksignal::command::log_lines::CLICKHOUSE_WRONG;
use risksignal::reload::{REFUSED, RELOADED};
use serde_json::{Value, json};
use telemetry::log_lines::DEAD_LETTER;
use testkit::nats::{DEAD_LETTERS, header};
use testkit::ops::{ANY_PORT, Ops};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};

/// Publishes a signal of this type with this payload.
async fn publish(stack: &Stack, number: u64, event_type: &str, payload: Value) {
    let mut signal = signal(number);
    signal["event_type"] = event_type.into();
    signal["payload"] = payload;
    let body = serde_json::to_vec(&signal).unwrap();
    let subject = format!("signals.{event_type}");
    let jetstream = stack.nats.jetstream().await;
    let sent = jetstream.publish(subject, body.into()).await;
    sent.unwrap().await.unwrap();
}

/// Faults that each row has, in the order of the stream.
async fn row_faults(stack: &Stack) -> Vec<String> {
    let sql = "SELECT payload_faults FROM raw_signals ORDER BY stream_seq";
    stack.clickhouse.rows(sql).await
}

fn good() -> Value {
    json!({"rule": "structuring", "score": 0.5})
}

fn bad() -> Value {
    json!({"rule": "structuring", "score": 1.5, "chain": "Solana"})
}

const FAULTS: &str = "payload/chain: must match ^[0-9a-z._:-]{1,64}$; \
                      payload/score: it is greater than the maximum of 1.0";

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_counted_and_kept_in_the_row_or_enforced_by_event_type() {
    let stack = Stack::start().await;
    let file = stack.work_dir().join("risksignal.toml");
    std::fs::write(&file, "").unwrap();
    let mut daemon = stack.daemon(&[ANY_PORT]).await;
    let ops = Ops::of(&daemon).await;
    for (number, payload) in [(0, good()), (1, bad()), (2, good())] {
        publish(&stack, number, "risk_event", payload).await;
    }
    publish(&stack, 3, "anything", bad()).await;
    publish(&stack, 4, "wallet_snapshot", json!({"chain": "base"})).await;
    stack.settled().await;
    let missing = "payload/balances: is missing";
    assert_eq!(row_faults(&stack).await, ["", FAULTS, "", "", missing]);
    let count = |kind: &str| {
        format!("risksignal_signals_payload_faulty_total{{event_type=\"{kind}\"}} 1\n")
    };
    let metrics = ops.get("/metrics").await.body;
    assert!(metrics.contains(&count("risk_event")), "{metrics}");
    assert!(metrics.contains(&count("wallet_snapshot")), "{metrics}");
    // Type and source are named in the log, once, in the status and on the page.
    publish(&stack, 8, "risk_event", bad()).await;
    stack.settled().await;
    let named = |line: &Value| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("Payload breaks")
    };
    let lines: Vec<Value> = daemon.lines().into_iter().filter(named).collect();
    let types: Vec<&Value> = lines.iter().map(|line| &line["event_type"]).collect();
    assert_eq!(types, ["risk_event", "wallet_snapshot"]);
    assert_eq!(lines[0]["faults"], FAULTS);
    assert_eq!(lines[0]["level"], "WARN");
    let status = ops.get("/statusz").await.json();
    let listed = &status["payload_faults"][0];
    assert_eq!(
        (&listed["count"], &listed["faults"]),
        (&json!(2), &json!(FAULTS))
    );
    let output = stack.risksignal_with(&["status"], &[ops.listen()]).await;
    let output = String::from_utf8(output.stdout).unwrap();
    let line = format!(
        "2 of type risk_event from {} break their contract and were inserted: {FAULTS}",
        listed["source_id"].as_str().unwrap()
    );
    assert!(output.contains(&line), "{output}");
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);

    let modes = "off, risk_event=enforce";
    std::fs::write(&file, format!("validation.payload = '{modes}'")).unwrap();
    daemon.signal("HUP");
    let line = daemon.logged(RELOADED).await;
    assert!(line["changed"].as_str().unwrap().contains(modes), "{line}");
    for (number, payload) in [(5, good()), (6, bad())] {
        publish(&stack, number, "risk_event", payload).await;
    }
    publish(&stack, 7, "wallet_snapshot", json!({})).await;
    stack.settled().await;
    assert_eq!(row_faults(&stack).await[6..], ["", ""]);
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "breaks_contract");
    assert_eq!(header(&letters[0], "Risksignal-Error"), FAULTS);
    let body: Value = serde_json::from_slice(&letters[0].payload).unwrap();
    assert_eq!(
        body["payload"],
        bad(),
        "the letter has the signal as it was"
    );
    assert!(daemon.stop().await.success());
}

const INVOICE: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["number", "lines"],
    "properties": {
        "number": {"type": "string", "pattern": "^INV-[0-9]+$"},
        "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}}
    },
    "$defs": {"line": {"type": "object", "required": ["price"]}}
}"##;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_schemas_has_the_contracts_of_other_types() {
    let stack = Stack::start().await;
    let folder = stack.work_dir().join("schemas");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("invoice.json"), INVOICE).unwrap();
    std::fs::write(folder.join("README.md"), "no schema").unwrap();
    let environment = [
        setting!(validation.schemas = "schemas"),
        setting!(validation.payload = "off, invoice=warn"),
    ];
    let mut daemon = stack.daemon(&environment).await;
    let good = json!({"number": "INV-7", "lines": [{"price": 1}]});
    publish(&stack, 0, "invoice", good).await;
    let bad = json!({"number": "7", "lines": [{"price": 1}, {}]});
    publish(&stack, 1, "invoice", bad).await;
    publish(&stack, 2, "risk_event", json!({})).await;
    stack.settled().await;
    let rows = row_faults(&stack).await;
    assert_eq!((rows[0].as_str(), rows[2].as_str()), ("", ""));
    for path in [
        "payload/number: must match",
        "payload/lines/1/price: is missing",
    ] {
        assert!(rows[1].contains(path), "{path} in {}", rows[1]);
    }

    // The files are read again too.
    let broken = folder.join("other.json");
    std::fs::write(&broken, "{").unwrap();
    daemon.signal("HUP");
    let refused = REFUSED;
    let line = daemon.logged(refused).await;
    assert!(
        line["error"].as_str().unwrap().contains("other.json"),
        "{line}"
    );
    std::fs::remove_file(broken).unwrap();
    std::fs::write(folder.join("invoice.json"), r#"{"required": ["due"]}"#).unwrap();
    daemon.signal("HUP");
    let line = daemon.logged(RELOADED).await;
    let changed = line["changed"].as_str().unwrap();
    assert!(changed.contains("schemas, with other files"), "{changed}");
    publish(&stack, 3, "invoice", json!({})).await;
    stack.settled().await;
    assert_eq!(row_faults(&stack).await[3], "payload/due: is missing");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_modes_and_schemas_are_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = dir.path().join("schemas");
    std::fs::create_dir_all(&schemas).unwrap();
    for (name, text) in [
        ("a.json", "{"),
        ("b.json", r#"{"type": "texts"}"#),
        ("c.json", r#"{"$ref": "https://example.com/c.json"}"#),
        (
            "d.json",
            r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#,
        ),
        ("e.json", r#"{"pattern": "("}"#),
        ("transaction.txt", ""),
    ] {
        std::fs::write(schemas.join(name), text).unwrap();
    }
    let run = async |schemas: &str, payload: &str| {
        let environment = [
            setting!(validation.schemas = schemas),
            setting!(validation.payload = payload),
            setting!(batch.max_rows = "none"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let output = testkit::risksignal(&["run"], &environment, dir.path()).await;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let printed = run("schemas", "warn, off").await;
    for words in [
        "schemas/a.json is not JSON",
        "schemas/b.json is not a JSON Schema",
        "schemas/c.json is not a JSON Schema",
        "schemas/d.json must have the $schema https://json-schema.org/draft/2020-12/schema",
        "schemas/e.json is not a JSON Schema",
        "validation.payload (environment variable RISKSIGNAL__VALIDATION__PAYLOAD) is \"warn, off\"",
        "batch.max_rows",
    ] {
        assert!(printed.contains(words), "{words} in {printed}");
    }
    let printed = run("nowhere", "loud").await;
    for words in [
        "validation.schemas",
        "cannot be read",
        "must be off, warn or enforce",
    ] {
        assert!(printed.contains(words), "{words} in {printed}");
    }
    for name in ["a.json", "b.json", "c.json", "d.json", "e.json"] {
        std::fs::remove_file(schemas.join(name)).unwrap();
    }
    let printed = run("schemas", "warn, invoice=enforce").await;
    assert!(printed.contains("needs a contract"), "{printed}");
    std::fs::write(schemas.join("transaction.json"), "{}").unwrap();
    let printed = run("schemas", "warn").await;
    assert!(printed.contains("no transaction.json"), "{printed}");
}

/// The daemon and the table before the contracts.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_gets_its_column_and_its_rows_have_no_faults() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    let back = [
        "ALTER TABLE raw_signals DROP COLUMN payload_faults",
        "ALTER TABLE schema_migrations DELETE WHERE version > 2 SETTINGS mutations_sync = 2",
    ];
    for statement in back {
        stack.clickhouse.execute(statement).await;
    }
    let waits = [
        setting!(clickhouse.migrate = "false"),
        setting!(clickhouse.retry_max = "500ms"),
    ];
    let daemon = stack.daemon_not_waited_for(&waits);
    let refused = CLICKHOUSE_WRONG;
    let line = daemon.logged(refused).await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("column payload_faults String is missing"),
        "{error}"
    );
    stack.produce(&["--count=20", "--seed=1"]).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await == (20, 20)).then_some(())
    })
    .await;
    assert!(row_faults(&stack).await.iter().all(String::is_empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_sender_made_up_is_in_the_row_and_the_letter_alone() {
    const SECRET: &str = "4929-1234-5678";
    let stack = Stack::start().await;
    let folder = stack.work_dir().join("schemas");
    std::fs::create_dir_all(&folder).unwrap();
    let schema = r#"{"properties": {"a": {}}, "additionalProperties": false}"#;
    std::fs::write(folder.join("own.json"), schema).unwrap();
    let folder = folder.display().to_string();
    let settings = [
        ANY_PORT,
        setting!(validation.schemas = folder.as_str()),
        setting!(validation.payload = "warn, own=enforce"),
    ];
    let mut daemon = stack.daemon(&settings).await;
    let ops = Ops::of(&daemon).await;
    let snapshot = json!({"chain": "base", "balances": {SECRET: -1}});
    publish(&stack, 1, "wallet_snapshot", snapshot).await;
    publish(&stack, 2, "own", json!({SECRET: 1})).await;
    stack.settled().await;
    let path = format!("payload/balances/{SECRET}: ");
    let row = row_faults(&stack).await.remove(0);
    assert!(row.starts_with(&path), "{row}");
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert!(header(&letters[0], "Risksignal-Error").contains(SECRET));

    let status = ops.get("/statusz").await.json();
    let faults = &status["payload_faults"][0]["faults"];
    assert_eq!(
        faults,
        "payload/balances/*: it is less than the minimum of 0"
    );
    let error = &status["last_dead_letters"][0]["error"];
    assert_eq!(error, "payload: has fields that are not allowed (1)");
    daemon.logged(DEAD_LETTER).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.output().contains(SECRET));
}
