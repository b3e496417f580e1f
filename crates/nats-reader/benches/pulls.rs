//! CPU seconds a million messages with explicit acks, by this reader and by async-nats, in turns.
//! `make bench-reader` runs it.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // A measurement stops at the first surprise.

#[path = "../tests/connection/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use procfs::process::Process;
use risksignal_nats_reader::{Login, Message, Reader, Subjects};
use tokio::task::JoinSet;

use support::{Log, Nats, options};

const STREAM: &str = "SIGNALS";
const MESSAGES: usize = 500_000;
/// Bytes of a produced signal.
const BODY: usize = 500;
const ROUNDS: usize = 5;
/// The daemon's own defaults: two pulls, each of so many messages, handed on in chunks.
const PULLS: usize = 2;
const BATCH: usize = 5_000;
const CHUNK: usize = 128;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let nats = Nats::start(&[]).await;
    let client = async_nats::connect(nats.address()).await.unwrap();
    let context = jetstream::new(client.clone());
    fill(&context).await;
    println!(
        "{MESSAGES} messages of {BODY} bytes with a header, explicit acks; CPU seconds a million"
    );
    let mut all = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        let of_client = cost(&context, &nats, round, async_nats_pull).await;
        let of_reader = cost(&context, &nats, round, reader_pull).await;
        println!(
            "round {round}: async-nats {:.3} ({:.0}/s), reader {:.3} ({:.0}/s)",
            of_client.0, of_client.1, of_reader.0, of_reader.1
        );
        all[0].push(of_client.0);
        all[1].push(of_reader.0);
    }
    for (name, figures) in ["async-nats", "reader"].iter().zip(&mut all) {
        figures.sort_by(f64::total_cmp);
        println!(
            "{name}: median {:.3}, lowest {:.3}, highest {:.3}",
            figures[ROUNDS / 2],
            figures[0],
            figures[ROUNDS - 1]
        );
    }
}

async fn fill(context: &jetstream::Context) {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["signals.>".to_owned()],
        storage: StorageType::Memory,
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    let body = Bytes::from(vec![b'x'; BODY]);
    let mut answers = FuturesUnordered::new();
    for number in 0..MESSAGES {
        // As the daemon's producer has it.
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("0123456789abcdef-{number}").as_str());
        let sent = context.publish_with_headers("signals.ethereum", headers, body.clone());
        let sent = sent.await.unwrap();
        answers.push(sent.into_future());
        if answers.len() == 2_000 {
            answers.next().await.unwrap().unwrap();
        }
    }
    while let Some(answer) = answers.next().await {
        answer.unwrap();
    }
}

/// Drains the stream through a new consumer; returns CPU seconds a million and messages a second.
async fn cost<F>(
    context: &jetstream::Context,
    nats: &Nats,
    round: usize,
    pull: impl Fn(String, String, usize) -> F,
) -> (f64, f64)
where
    F: Future<Output = ()> + Send + 'static,
{
    let name = format!("round-{round}");
    let config = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 200_000,
        ..pull::Config::default()
    };
    let stream = context.get_stream_no_info(STREAM).await.unwrap();
    stream.create_consumer(config).await.unwrap();
    let (began, before) = (Instant::now(), cpu());
    let mut pulls = JoinSet::new();
    pulls.spawn(pull(nats.address(), name.clone(), MESSAGES));
    while let Some(pulled) = pulls.join_next().await {
        pulled.unwrap();
    }
    let (cpu, elapsed) = (cpu() - before, began.elapsed().as_secs_f64());
    let pending = async || stream.consumer_info(&name).await.unwrap().num_ack_pending;
    support::until("all is acked", async || pending().await == 0).await;
    stream.delete_consumer(&name).await.unwrap();
    let millions = MESSAGES as f64 / 1e6;
    (cpu / millions, MESSAGES as f64 / elapsed)
}

/// User and system time of this process.
fn cpu() -> f64 {
    let stat = Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

fn request() -> Bytes {
    let expires = Duration::from_secs(30).as_nanos();
    format!("{{\"batch\":{BATCH},\"max_bytes\":8388608,\"expires\":{expires}}}").into()
}

fn next(consumer: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}")
}

async fn reader_pull(address: String, consumer: String, count: usize) {
    let mut own = options(&[address], Login::None, &Log::default());
    own.inbox_max = 16 << 20;
    let reader = Reader::connect(own).await.unwrap();
    let mut pulls = JoinSet::new();
    for _ in 0..PULLS {
        let (reader, next) = (reader.clone(), next(&consumer));
        pulls.spawn(async move {
            let inbox = reader.subscribe().unwrap();
            let (mut left, mut chunk) = (count / PULLS, Vec::new());
            while left > 0 {
                let request = request();
                reader
                    .publish(&next, Some(inbox.subject()), &request)
                    .await
                    .unwrap();
                let mut wanted = BATCH;
                while wanted > 0 {
                    inbox.receive(&mut chunk, wanted.min(CHUNK)).await.unwrap();
                    chunk.retain(|message: &Message| message.status().is_none());
                    wanted -= chunk.len();
                    left = left.saturating_sub(chunk.len());
                    let replies: Subjects = chunk.iter().filter_map(Message::reply).collect();
                    assert!(chunk.drain(..).all(|one| one.body().len() == BODY));
                    reader.send(replies.iter(), b"+ACK", None).await.unwrap();
                }
            }
        });
    }
    while let Some(pulled) = pulls.join_next().await {
        pulled.unwrap();
    }
    reader.flush().await.unwrap();
}

async fn async_nats_pull(address: String, consumer: String, count: usize) {
    let connect = async_nats::ConnectOptions::new()
        .subscription_capacity(128 * 1024)
        .skip_subject_validation(true);
    let client = connect.connect(address).await.unwrap();
    let mut pulls = JoinSet::new();
    for _ in 0..PULLS {
        let (client, next) = (client.clone(), next(&consumer));
        pulls.spawn(async move {
            let inbox = client.new_inbox();
            let mut messages = client.subscribe(inbox.clone()).await.unwrap();
            let (mut left, mut chunk) = (count / PULLS, Vec::new());
            while left > 0 {
                let (next, inbox) = (next.clone(), inbox.clone());
                client
                    .publish_with_reply(next, inbox, request())
                    .await
                    .unwrap();
                let mut wanted = BATCH;
                while wanted > 0 {
                    chunk.push(messages.next().await.unwrap());
                    while chunk.len() < wanted.min(CHUNK)
                        && let Some(Some(message)) = messages.next().now_or_never()
                    {
                        chunk.push(message);
                    }
                    chunk.retain(|message| message.status.is_none());
                    wanted -= chunk.len();
                    left = left.saturating_sub(chunk.len());
                    assert!(chunk.iter().all(|one| one.payload.len() == BODY));
                    for message in chunk.drain(..) {
                        let ack = Bytes::from_static(b"+ACK");
                        client.publish(message.reply.unwrap(), ack).await.unwrap();
                    }
                }
            }
        });
    }
    while let Some(pulled) = pulls.join_next().await {
        pulled.unwrap();
    }
    client.flush().await.unwrap();
}
