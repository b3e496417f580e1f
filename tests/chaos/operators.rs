//! Deeds of operators on consumers, tables, profiles and the servers' data while all is at work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::consumer::{self, DeliverPolicy, pull};
use futures_util::StreamExt;
use testkit::nats::{CONSUMER, STREAM, header, sequence};
use testkit::process::Process;
use testkit::users::User;
use tokio::time::{sleep, timeout};

use super::plan::{Fault, Step};
use super::publisher::NUMBER_HEADER;
use super::world::World;

/// The name of the view that comes and goes.
const VIEW: &str = "chaos_view";
/// An operator's command that a fault has cut off is repeated for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest time of one try.
const TRY: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(300);
/// Messages of a publisher that was stopped are in the stream after this time.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Users whose profiles cut answers short.
const PROFILES: [(&str, &str); 4] = [
    (
        "few_rows",
        "<max_result_rows>20</max_result_rows><result_overflow_mode>break</result_overflow_mode>",
    ),
    ("limited", "<limit>20</limit>"),
    (
        "few_reads",
        "<max_rows_to_read>1</max_rows_to_read><read_overflow_mode>break</read_overflow_mode>",
    ),
    (
        "short_time",
        "<max_execution_time>2</max_execution_time>\
         <timeout_overflow_mode>break</timeout_overflow_mode>",
    ),
];

/// The users of the daemons besides the usual one.
pub fn users() -> [User<'static>; PROFILES.len()] {
    PROFILES.map(|(name, profile)| User {
        name,
        profile,
        ..User::default()
    })
}

/// Servers' data that is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The stream of signals with its consumers.
    Signals,
    /// All streams, and so the claims log and the dead letters too.
    All,
}

/// Does something to the daemons' consumer; reports whether it came to that.
pub async fn consumer(world: &World, step: Step) -> bool {
    let done = match step.fault {
        Fault::Reset(back) => persist(world, || reset(world, back)).await,
        Fault::EditAckWait(ack_wait) => {
            let edited = persist(world, || edit(world, ack_wait)).await;
            sleep(step.lasts).await;
            edited
        }
        _ => persist(world, || delete(world)).await,
    };
    done.is_some()
}

/// Asks for all messages from one below the acked ones on.
async fn reset(world: &World, back: u64) -> Result<()> {
    let client = world.nats[0].client().await;
    let info = consumer_info(world).await?;
    let seq = info.ack_floor.stream_sequence.saturating_sub(back).max(1);
    let subject = format!("$JS.API.CONSUMER.RESET.{STREAM}.{CONSUMER}");
    let answer = client
        .request(subject, format!(r#"{{"seq":{seq}}}"#).into())
        .await?;
    let answer = String::from_utf8_lossy(&answer.payload).into_owned();
    ensure!(!answer.contains("\"error\""), "{answer}");
    Ok(())
}

async fn consumer_info(world: &World) -> Result<consumer::Info> {
    let stream = world.nats[0].jetstream().await.get_stream(STREAM).await?;
    Ok(stream.consumer_info(CONSUMER).await?)
}

/// Sets another ack wait, which a daemon that starts sets back.
async fn edit(world: &World, ack_wait: Duration) -> Result<()> {
    let config = consumer_info(world).await?.config;
    let config = pull::Config {
        durable_name: config.durable_name,
        ack_policy: config.ack_policy,
        ack_wait,
        max_ack_pending: config.max_ack_pending,
        max_deliver: config.max_deliver,
        priority_policy: config.priority_policy,
        priority_groups: config.priority_groups,
        ..pull::Config::default()
    };
    let jetstream = world.nats[0].jetstream().await;
    jetstream.create_consumer_on_stream(config, STREAM).await?;
    Ok(())
}

/// Deletes the consumer. The daemons create it again, and all messages come again.
async fn delete(world: &World) -> Result<()> {
    let stream = world.nats[0].jetstream().await.get_stream(STREAM).await?;
    stream.delete_consumer(CONSUMER).await?;
    Ok(())
}

/// Has a view on the table for some time; reports whether it came to that.
pub async fn view(world: &World, step: Step) -> bool {
    let column = if step.fault == Fault::RefusingView {
        "throwIf(severity = 5, 'chaos: this view refuses') AS refused"
    } else {
        "severity AS seen"
    };
    let create = format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {VIEW} ENGINE = MergeTree ORDER BY tuple() \
         AS SELECT {column} FROM raw_signals"
    );
    let is_there = persist(world, || execute(world, &create)).await.is_some();
    sleep(step.lasts).await;
    remove_view(world).await;
    is_there
}

/// Takes the view away, where it is there.
pub async fn remove_view(world: &World) {
    let drop = format!("DROP VIEW IF EXISTS {VIEW} SYNC");
    if persist(world, || execute(world, &drop)).await.is_none() {
        world.journal.fail("the view cannot be dropped".to_owned());
    }
}

async fn execute(world: &World, sql: &str) -> Result<()> {
    Ok(world.clickhouse.client().query_raw(sql).execute().await?)
}

/// Repeats an operator's command that other faults have cut off; `None` when it never came through.
async fn persist<T>(world: &World, command: impl AsyncFn() -> Result<T>) -> Option<T> {
    let mut last = None;
    let tries = async {
        loop {
            match timeout(TRY, command()).await {
                Ok(Ok(done)) => return done,
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = None,
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(PATIENCE, tries).await {
        Ok(done) => Some(done),
        Err(_) => {
            world
                .journal
                .note(&format!("an operator gave up: {last:?}"));
            None
        }
    }
}

/// Copies the server's data, and after some time kills the server and puts the copy back. Messages
/// that were published in between are gone by the operator's hand, landed or not. Returns whether
/// there was anything to copy.
pub async fn put_back(
    world: &World,
    publisher: &Process,
    extent: Extent,
    lasts: Duration,
) -> Result<bool> {
    let server = &world.nats[0];
    let store = match extent {
        Extent::Signals => server.streams().join(STREAM),
        Extent::All => server.streams(),
    };
    if !store.exists() {
        world.journal.note("there is no stream to be copied");
        return Ok(false);
    }
    let before = last_sequence(world).await?;
    let copy = world.dir.join("copy");
    // As a snapshot of the disk has it.
    server.signal("STOP");
    let copied = copy_folder(&store, &copy).await;
    server.signal("CONT");
    copied?;
    sleep(lasts).await;
    publisher.signal("STOP");
    sleep(ON_ITS_WAY).await;
    let after = numbers(world, before).await?;
    server.kill();
    std::fs::remove_dir_all(&store)?;
    std::fs::rename(&copy, &store)?;
    server.restart().await;
    let last = last_sequence(world).await?;
    let gone: Vec<u64> = after.range(last + 1..).map(|(_, number)| *number).collect();
    world.journal.note(&format!(
        "{extent:?} put back to sequence {last}; {} messages are gone",
        gone.len()
    ));
    world.taken_back(&gone);
    publisher.signal("CONT");
    Ok(true)
}

async fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let (from, to): (PathBuf, PathBuf) = (from.to_owned(), to.to_owned());
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    let status = tokio::process::Command::from(command).status().await?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

async fn last_sequence(world: &World) -> Result<u64> {
    let jetstream = world.nats[0].jetstream().await;
    let stream = jetstream.get_stream(STREAM).await?;
    Ok(stream.cached_info().state.last_sequence)
}

/// The numbers of the messages behind a sequence, by sequence.
async fn numbers(world: &World, behind: u64) -> Result<BTreeMap<u64, u64>> {
    let jetstream = world.nats[0].jetstream().await;
    let stream = jetstream.get_stream(STREAM).await?;
    let last = stream.cached_info().state.last_sequence;
    let mut numbers = BTreeMap::new();
    if last <= behind {
        return Ok(numbers);
    }
    let config = pull::OrderedConfig {
        headers_only: true,
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: behind + 1,
        },
        ..Default::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let seq = sequence(&message);
        let number = header(&message, NUMBER_HEADER).parse();
        numbers.insert(seq, number.context("a message without its number")?);
        if seq >= last {
            break;
        }
    }
    Ok(numbers)
}
