//! `risksignal schema`, and the TypeScript that is made of the same contracts.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{repository, risksignal, setting};

const SOURCES: &str = "infra/clients/typescript";

async fn schema(arguments: &[&str], environment: &[(&str, &str)], dir: &Path) -> Output {
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let arguments: Vec<&str> = ["schema"].iter().chain(arguments).copied().collect();
    risksignal(&arguments, &environment, dir).await
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn list_and_export_have_every_contract() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = dir.path().join("schemas");
    std::fs::create_dir_all(&schemas).unwrap();
    std::fs::write(schemas.join("invoice.json"), r#"{"type": "object"}"#).unwrap();
    let environment = [
        setting!(validation.schemas = "schemas"),
        setting!(validation.payload = "warn, invoice=enforce"),
    ];
    let list = schema(&["list"], &environment, dir.path()).await;
    let lines: Vec<Vec<&str>> = text(&list.stdout)
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        lines,
        [
            ["invoice", "enforce"],
            ["risk_event", "warn"],
            ["transaction", "warn"],
            ["wallet_snapshot", "warn"]
        ]
    );
    let export = schema(&["export"], &environment, dir.path()).await;
    let exported: Value = serde_json::from_slice(&export.stdout).unwrap();
    let write = schema(&["export", "--dir=out"], &environment, dir.path()).await;
    assert!(write.status.success(), "{write:?}");
    let names = [
        "invoice",
        "risk_event",
        "signal",
        "transaction",
        "wallet_snapshot",
    ];
    assert_eq!(exported.as_object().unwrap().len(), names.len());
    for name in names {
        let path = dir.path().join("out").join(format!("{name}.json"));
        let written = std::fs::read_to_string(path).unwrap();
        let document: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(document, exported[name]);
        jsonschema::meta::validate(&document).unwrap();
    }
    assert_eq!(
        exported["transaction"]["properties"]["block"]["maximum"],
        9_007_199_254_740_991_u64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn check_judges_each_line_as_the_daemon_would() {
    let dir = tempfile::tempdir().unwrap();
    let cases = std::fs::read_to_string(repository("tests/contracts/cases.ndjson")).unwrap();
    let signal = |about: &str| {
        let is_it = |line: &&str| line.contains(&format!("\"about\":\"{about}\""));
        let line = cases.lines().find(is_it).unwrap();
        let signal = line.split_once("\"signal\":").unwrap().1;
        signal.strip_suffix('}').unwrap().to_owned()
    };
    let lines = [
        signal("a transfer"),
        signal("three faults"),
        "{\"event_time\"".to_owned(),
        String::new(),
        signal("a severity above 5"),
        "x".repeat(3 << 20),
        signal("a snapshot"),
    ];
    std::fs::write(dir.path().join("signals.ndjson"), lines.join("\n")).unwrap();
    let check = schema(&["check", "signals.ndjson"], &[], dir.path()).await;
    assert_eq!(check.status.code(), Some(3), "{check:?}");
    let printed: Vec<&str> = text(&check.stdout).lines().collect();
    assert_eq!(printed.len(), 5, "{printed:#?}");
    for path in [
        "line 2: would be inserted, with ",
        "payload/from: ",
        "payload/amount: ",
        "payload: one of hash",
    ] {
        assert!(printed[0].contains(path), "{path} in {}", printed[0]);
    }
    assert!(
        printed[1].starts_with("line 3: dead letter (not_json)"),
        "{}",
        printed[1]
    );
    assert!(
        printed[2].starts_with("line 5: dead letter (breaks_rules): severity: "),
        "{}",
        printed[2]
    );
    assert!(
        printed[3].starts_with("line 6: dead letter (too_large)"),
        "{}",
        printed[3]
    );
    assert!(
        printed[4].starts_with("7 lines: 3 would be dead letters, 1 would be inserted"),
        "{}",
        printed[4]
    );

    let enforce = [setting!(validation.payload = "enforce")];
    let check = schema(&["check", "signals.ndjson"], &enforce, dir.path()).await;
    let first = text(&check.stdout).lines().next().unwrap();
    assert!(
        first.starts_with("line 2: dead letter (breaks_contract): payload"),
        "{first}"
    );

    std::fs::write(dir.path().join("good.ndjson"), lines[0].clone() + "\n").unwrap();
    let check = schema(&["check", "good.ndjson"], &[], dir.path()).await;
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let check = schema(&["check", "nowhere.ndjson"], &[], dir.path()).await;
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    // Standard input, which ends at once here.
    let check = schema(&["check", "-"], &[], dir.path()).await;
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_is_what_the_contracts_make() {
    let dir = tempfile::tempdir().unwrap();
    let export = schema(&["export", "--typescript"], &[], dir.path()).await;
    assert!(export.status.success(), "{export:?}");
    let path = repository(SOURCES).join("src/schemas.ts");
    let kept = std::fs::read_to_string(path).unwrap();
    let advice =
        "stale: risksignal schema export --typescript > infra/clients/typescript/src/schemas.ts";
    assert!(kept == text(&export.stdout), "{advice}");
}

/// Under Node, with the packages of the lock file.
#[test]
fn zod_has_the_same_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let from = repository(SOURCES);
    let files = [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "src/index.ts",
        "src/rules.ts",
        "src/schemas.ts",
        "test/cases.js",
    ];
    for name in files {
        let to = dir.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), to).unwrap();
    }
    let cases = repository("tests/contracts/cases.ndjson");
    let cases = cases.to_str().unwrap();
    for arguments in [
        vec!["ci", "--no-audit", "--no-fund"],
        vec!["test", "--", cases],
    ] {
        let output = Command::new("npm")
            .args(&arguments)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "npm {arguments:?}: {printed} {output:?}"
        );
    }
}
