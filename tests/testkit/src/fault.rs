//! Faults made for real, and the places that must name each.

use std::process::Output;

use async_nats::ConnectOptions;
use serde_json::Value;

use crate::binary::Daemon;
use crate::nats::Options;
use crate::ops::Ops;
use crate::stack::Stack;
use crate::wait::eventually;

/// A fault that is in force, with the words that name it.
pub struct Fault<'a> {
    pub name: &'a str,
    /// Settings of the daemon and of `check`.
    pub settings: &'a [(&'a str, &'a str)],
    /// Words of one line of `check`.
    pub check: &'a [&'a str],
    /// Words of one warning, or of one reason of a dependency, in what the page shows.
    pub page: &'a [&'a str],
    /// Words of one warning or error in the log.
    pub log: &'a [&'a str],
}

impl Fault<'_> {
    /// `check`, `status`, what the page gets and the log name the fault.
    pub async fn assert_named(&self, stack: &Stack, daemon: &Daemon, ops: &Ops) {
        let page = eventually(&format!("the page names {}", self.name), async || {
            let status = ops.get("/statusz").await.json();
            let mut said = conditions(&status).into_iter();
            said.find(|said| has_all(said, self.page))
        })
        .await;
        let log = eventually(&format!("the log names {}", self.name), async || {
            let lines = daemon.lines().into_iter();
            let mut loud = lines.filter(|line| line["level"] == "WARN" || line["level"] == "ERROR");
            loud.find(|line| has_all(&line.to_string(), self.log))
        })
        .await;
        let status = text(stack.risksignal_with(&["status"], &[ops.listen()]).await);
        assert!(
            status.lines().any(|line| has_all(line, self.page)),
            "{}: {status}",
            self.name
        );
        let output = stack.risksignal_with(&["check"], self.settings).await;
        let code = output.status.code();
        let check = text(output);
        let is_found = |line: &&str| line.contains(" WRONG ") && has_all(line, self.check);
        let found = check.lines().find(is_found);
        let found = found.unwrap_or_else(|| panic!("check does not name {}: {check}", self.name));
        assert_eq!(code, Some(1), "{check}");
        eprintln!(
            "{}\n  check: {found}\n  page:  {page}\n  log:   {log}",
            self.name
        );
    }
}

/// Texts of the warnings, with their remedies, and reasons of dependencies that are down.
fn conditions(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let health = &status["health"];
    let warnings = health["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.map(|it| format!("{}: {}", text(&it["text"]), text(&it["remedy"])));
    let dependencies = health["dependencies"].as_object().into_iter().flatten();
    let down = dependencies.filter(|(_, latch)| latch["state"] == "down");
    let reasons = down.map(|(name, latch)| format!("{name}: {}", text(&latch["reason"])));
    warnings.chain(reasons).collect()
}

fn has_all(text: &str, words: &[&str]) -> bool {
    words.iter().all(|word| text.contains(word))
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// Publishes until the server refuses, ever smaller messages; returns how many it took.
pub async fn fill(stack: &Stack, subject: &str) -> usize {
    let jetstream = stack.nats.jetstream().await;
    let mut taken = 0;
    for size in [200_000, 20_000, 2_000, 200, 1] {
        loop {
            let body = vec![b'x'; size].into();
            let ack = jetstream.publish(subject.to_owned(), body).await.unwrap();
            match ack.await {
                Ok(_) => taken += 1,
                Err(_) => break,
            }
        }
    }
    taken
}

/// A NATS whose account has room for so many bytes.
pub async fn with_small_account(bytes: u64) -> Stack {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    let config = format!(
        "jetstream {{ max_file_store: 1GB }}\n\
         accounts {{ RISKSIGNAL {{ jetstream: {{ max_memory: 1MB, max_file: {bytes} }}, users: [{{ user: app, password: app }}] }} }}\n\
         no_auth_user: app\n"
    );
    std::fs::write(&path, config).unwrap();
    let mut stack = Stack::with(Options::config(&path, ConnectOptions::new()), &[]).await;
    stack.keep(folder);
    stack
}
