//! Wallets as the API answers them, with a cache and without.

use std::time::Duration;

use ::wallets::log_lines::KEEPING;
use axum::http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::{Api, TOKEN, entry, start_with_tokens, write_tokens};
use crate::binary::Daemon;
use crate::ops::{ANY_PORT, Answer};
use crate::redis::Redis;
use crate::setting;
use crate::stack::Stack;
use crate::wait::eventually;

/// A server that reads from Redis, and one that asks ClickHouse.
pub struct Servers {
    pub cached: Api,
    pub plain: Api,
    daemons: Vec<Daemon>,
}

impl Servers {
    pub async fn start(stack: &Stack, redis: &Redis) -> Self {
        let tokens = write_tokens(stack, &entry("app", TOKEN, "scopes = ['ingest', 'read']"));
        let (one, plain) = start_with_tokens(stack, &tokens, &[]).await;
        let url = redis.url();
        let (two, cached) = start_with_tokens(stack, &tokens, &[setting!(cache.url = &url)]).await;
        Self {
            cached,
            plain,
            daemons: vec![one, two],
        }
    }

    /// The log of the one that reads from Redis.
    pub fn log(&self) -> String {
        self.daemons[1].output()
    }

    /// Waits until each wallet is answered out of Redis as ClickHouse does. Redis gets a batch
    /// after its commit, so its answer may be a moment older.
    pub async fn agree_on(&self, wallets: &[String]) {
        for wallet in wallets {
            let what = format!("Redis has of {wallet:?} what ClickHouse has");
            let (cached, plain) = eventually(&what, async || {
                let cached = self.hit(wallet).await;
                let plain = self.plain.get(&path(wallet)).await;
                assert_eq!(plain.status, StatusCode::OK, "{}", plain.body);
                (cached.body == plain.body).then_some((cached, plain))
            })
            .await;
            assert!(!plain.headers.contains_key("cache-status"));
            assert_eq!(cached.headers["etag"], plain.headers["etag"]);
        }
    }

    /// Waits until a wallet is answered out of Redis.
    pub async fn hit(&self, wallet: &str) -> Answer {
        eventually("the answer comes out of Redis", async || {
            let answer = self.cached.get(&path(wallet)).await;
            (status(&answer) == "risksignal; hit").then_some(answer)
        })
        .await
    }
}

/// Starts a daemon that keeps the cache.
pub async fn keeper(stack: &Stack, redis: &Redis, more: &[(&str, &str)]) -> Daemon {
    let url = redis.url();
    let mut environment = vec![ANY_PORT, setting!(cache.url = &url)];
    environment.extend(more);
    let daemon = stack.daemon(&environment).await;
    daemon.logged(KEEPING).await;
    daemon
}

/// Value of an answer's `Cache-Status`.
pub fn status(answer: &Answer) -> &str {
    answer.headers["cache-status"].to_str().unwrap()
}

/// A wallet's path.
pub fn path(wallet: &str) -> String {
    let wallet: String = wallet
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    format!("/v1/wallets/{wallet}")
}

/// Every wallet that ClickHouse knows.
pub async fn known(stack: &Stack) -> Vec<String> {
    let sql =
        "SELECT DISTINCT wallet_address FROM raw_signals WHERE wallet_address != '' ORDER BY 1";
    stack.clickhouse.rows(sql).await
}

/// A signal number `number` of a wallet, so long ago.
pub fn signal_of(number: u64, wallet: &str, event_type: &str, ago: Duration) -> Value {
    let time = OffsetDateTime::now_utc() - ago;
    json!({
        "event_time": time.format(&Rfc3339).unwrap(),
        "source_id": "test",
        "event_type": event_type,
        "payload": {"number": number, "balances": {"WEI": "9".repeat(1 + (number % 78) as usize)}},
        "severity": number % 6,
        "trace_id": format!("00000000-0000-4000-8000-{number:012x}"),
        "wallet_address": wallet,
    })
}

/// Publishes signals, and waits until JetStream has them all.
pub async fn publish(stack: &Stack, signals: impl IntoIterator<Item = Value>) {
    let jetstream = stack.nats.jetstream().await;
    let mut answers = Vec::new();
    for signal in signals {
        let subject = format!("signals.{}", signal["event_type"].as_str().unwrap());
        let published = jetstream.publish(subject, signal.to_string().into()).await;
        answers.push(published.unwrap());
        if answers.len() == 500 {
            for answer in answers.drain(..) {
                answer.await.unwrap();
            }
        }
    }
    for answer in answers {
        answer.await.unwrap();
    }
}
