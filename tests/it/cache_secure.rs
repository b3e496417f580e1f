//! Redis with passwords, access lists and TLS.

use std::time::Duration;

use ::wallets::log_lines::{KEEPING, STALE};
use testkit::api::{TOKEN, entry, start_with_tokens, write_tokens};
use testkit::certificates::Authority;
use testkit::redis::Redis;
use testkit::wallets::{path, publish, signal_of, status};
use testkit::{Stack, eventually, repository, setting};

const PASSWORD: &str = "risksignal_dev_2026";
const MINUTE: Duration = Duration::from_secs(60);

/// Keeps the cache and reads it back with these settings.
async fn round_trip(stack: &Stack, settings: &[(&str, &str)], wallet: &str) {
    let mut daemon = stack.daemon(settings).await;
    daemon.logged(KEEPING).await;
    let tokens = write_tokens(stack, &entry("app", TOKEN, "scopes = ['ingest', 'read']"));
    let (mut serve, api) = start_with_tokens(stack, &tokens, settings).await;
    publish(stack, [signal_of(1, wallet, "risk_event", MINUTE)]).await;
    stack.settled().await;
    eventually("the answer comes out of Redis", async || {
        let answer = api.get(&path(wallet)).await;
        (status(&answer) == "risksignal; hit").then_some(())
    })
    .await;
    let rebuild = stack.risksignal_with(&["cache", "rebuild"], settings).await;
    assert!(rebuild.status.success(), "{rebuild:?}");
    let check = stack.risksignal_with(&["check"], settings).await;
    let lines = String::from_utf8(check.stdout).unwrap();
    let line = lines
        .lines()
        .find(|line| line.starts_with("cache"))
        .unwrap();
    assert!(line.contains(" ok ") && line.contains("Redis 7."), "{line}");
    assert_eq!(check.status.code(), Some(0), "{lines}");
    assert!(daemon.stop().await.success());
    assert!(serve.stop().await.success());
    assert!(!(daemon.output() + &serve.output()).contains(PASSWORD));
}

/// Line of `risksignal check` on a cache that is wrong.
async fn wrong(stack: &Stack, settings: &[(&str, &str)]) -> String {
    let check = stack.risksignal_with(&["check"], settings).await;
    assert_eq!(check.status.code(), Some(1));
    let lines = String::from_utf8(check.stdout).unwrap();
    assert!(!lines.contains(PASSWORD));
    let line = lines.lines().find(|line| line.starts_with("cache"));
    let line = line.unwrap().to_owned();
    assert!(line.contains("WRONG"), "{line}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_access_is_enough() {
    let stack = Stack::start().await;
    let acl = repository("infra/redis/users.acl");
    let options = ["--aclfile".to_owned(), acl.display().to_string()];
    let redis = Redis::with(&stack.work_dir(), &options).await;
    let url = redis.url();
    let settings = [
        setting!(cache.url = url.as_str()),
        setting!(cache.user = "risksignal"),
        setting!(cache.password = PASSWORD),
    ];
    round_trip(&stack, &settings, "0x1").await;

    let other = [settings[0], settings[1], setting!(cache.password = "x")];
    let line = wrong(&stack, &other).await;
    assert!(line.contains("cache.user and cache.password"), "{line}");
    let line = wrong(&stack, &settings[..1]).await;
    assert!(line.contains("cache.user and cache.password"), "{line}");
    // A prefix that the user may not touch.
    let prefix = setting!(cache.prefix = "other:");
    let foreign = [settings[0], settings[1], settings[2], prefix];
    let mut daemon = stack.daemon(&foreign).await;
    let stale = STALE;
    let line = daemon.logged(stale).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("ACL is too narrow"), "{error}");
    // Signals go on all the same.
    publish(&stack, [signal_of(2, "0x2", "risk_event", MINUTE)]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (2, 2));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_certificates_on_both_sides() {
    let stack = Stack::start().await;
    let dir = stack.work_dir();
    let authority = Authority::new(&dir, "ca");
    let (server, client) = (authority.issue("127.0.0.1"), authority.issue("ingest"));
    let port = testkit::process::free_port().to_string();
    let options = [
        "--tls-port".to_owned(),
        port.clone(),
        "--tls-cert-file".to_owned(),
        server.certificate(),
        "--tls-key-file".to_owned(),
        server.key(),
        "--tls-ca-cert-file".to_owned(),
        authority.file(),
        "--requirepass".to_owned(),
        PASSWORD.to_owned(),
    ];
    let redis = Redis::with(&dir, &options).await;
    let url = format!("rediss://127.0.0.1:{port}/3");
    let (ca, certificate, key) = (authority.file(), client.certificate(), client.key());
    let settings = [
        setting!(cache.url = url.as_str()),
        setting!(cache.password = PASSWORD),
        setting!(cache.ca_file = &ca),
        setting!(cache.cert_file = &certificate),
        setting!(cache.key_file = &key),
    ];
    round_trip(&stack, &settings, "0x1").await;

    let line = wrong(&stack, &settings[..3]).await;
    assert!(line.contains("cache.cert_file"), "{line}");
    let other = Authority::new(&dir, "other");
    let other = other.file();
    let mistrusting = [settings[0], settings[1], setting!(cache.ca_file = &other)];
    let line = wrong(&stack, &mistrusting).await;
    assert!(line.contains("check cache.ca_file"), "{line}");
    let plain = format!("redis://127.0.0.1:{port}");
    wrong(&stack, &[setting!(cache.url = &plain)]).await;
    redis.kill();
    let line = wrong(&stack, &settings).await;
    assert!(line.contains("is it running?"), "{line}");
}
