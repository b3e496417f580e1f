//! The private servers, and streams and tables on them.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, stream};
use tempfile::TempDir;
use testkit::clickhouse::{self, ClickHouse};
use testkit::nats::Nats;
use testkit::setting;

use super::arguments::Plan;
use super::candidate::Candidate;

/// The daemon's own table name; each run has a database of its own.
pub const TABLE: &str = "raw_signals";
/// Short, so that the broker does not forget ids, a million at once, in the midst of a round.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2);
/// ClickHouse's log of parts has the microsecond of each commit. ClickHouse merges this into
/// the configuration beside it.
const PART_LOG: &str = "<clickhouse><part_log>\
    <database>system</database><table>part_log</table>\
    </part_log></clickhouse>\n";

pub struct World {
    pub nats: Nats,
    pub clickhouse: ClickHouse,
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    risksignal: PathBuf,
    dir: TempDir,
    number: Cell<u32>,
}

/// A stream of signals.
pub struct Stream {
    pub name: String,
    prefix: String,
}

/// Input and output of one run: a consumer and a table, both new.
pub struct Target {
    pub stream: String,
    pub consumer: String,
    pub database: String,
    pub environment: Vec<(String, String)>,
}

impl Target {
    /// The stream of claims, and the subject of its records; a release without claims has none.
    pub fn claims_log(&self) -> String {
        format!("{}_CLAIMS_{}_{TABLE}", self.stream, self.database)
    }
}

impl World {
    pub async fn start(plan: &Plan) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&plan.data)?;
        let clickhouse_dir = dir.path().join("clickhouse");
        std::fs::create_dir_all(clickhouse_dir.join("conf.d"))?;
        std::fs::write(clickhouse_dir.join("conf.d/part_log.xml"), PART_LOG)?;
        let nats = Nats::spawn(dir.path().join("nats"), Default::default());
        let clickhouse = ClickHouse::spawn(clickhouse_dir, &[]);
        nats.ready().await;
        clickhouse.ready().await;
        let client = async_nats::connect(nats.url()).await?;
        Ok(Self {
            jetstream: jetstream::new(client.clone()),
            client,
            nats,
            clickhouse,
            risksignal: plan.risksignal.clone(),
            dir,
            number: Cell::new(0),
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn next(&self) -> u32 {
        self.number.replace(self.number.get() + 1)
    }

    /// A new stream, empty.
    pub async fn stream(&self) -> Result<Stream> {
        let number = self.next();
        let (name, prefix) = (format!("SIGNALS_{number}"), format!("signals{number}"));
        let config = stream::Config {
            name: name.clone(),
            subjects: vec![format!("{prefix}.>")],
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        self.jetstream.create_stream(config).await?;
        Ok(Stream { name, prefix })
    }

    /// A new stream with a backlog.
    pub async fn preloaded(&self, count: u64) -> Result<Stream> {
        let stream = self.stream().await?;
        eprintln!("publishing {count} signals …");
        self.produce(&stream, &["--count", &count.to_string(), "--seed", "42"])
            .await?;
        Ok(stream)
    }

    /// Deletes a stream and what belongs to it.
    pub async fn delete(&self, stream: &Stream) -> Result<()> {
        self.jetstream.delete_stream(&stream.name).await?;
        // Only there when a daemon was.
        let _ = self.jetstream.delete_stream(dead_letters(stream)).await;
        Ok(())
    }

    /// A new consumer's name on a stream, and a new table as the candidate's release has it: an
    /// older release refuses the table of a newer one.
    pub async fn target(&self, stream: &Stream, candidate: &Candidate) -> Result<Target> {
        let number = self.next();
        let (consumer, database) = (format!("consumer-{number}"), format!("bench_{number}"));
        let variables = [
            setting!(consumer.name = consumer.clone()),
            setting!(clickhouse.url = self.clickhouse.url()),
            setting!(clickhouse.user = clickhouse::USER.to_owned()),
            setting!(clickhouse.password = clickhouse::PASSWORD.to_owned()),
            setting!(clickhouse.database = database.clone()),
            setting!(clickhouse.table = TABLE.to_owned()),
            setting!(log.format = "json".to_owned()),
        ];
        let mut environment = self.nats_environment(stream);
        environment.extend(variables.map(|(name, value)| (name.to_owned(), value)));
        let target = Target {
            stream: stream.name.clone(),
            consumer,
            database,
            environment,
        };
        let program = candidate.risksignal.as_ref().unwrap_or(&self.risksignal);
        self.run(program, &["migrate"], &target.environment).await?;
        Ok(target)
    }

    /// Removes what a run has left on the servers.
    pub async fn clear(&self, target: &Target) -> Result<()> {
        let sql = format!("DROP DATABASE {} SYNC", target.database);
        self.clickhouse.execute(&sql).await;
        let stream = self.jetstream.get_stream_no_info(&target.stream).await?;
        stream.delete_consumer(&target.consumer).await?;
        let advisories = format!("{}_DLQ_ADVISORIES_{}", target.stream, target.consumer);
        // Only there when a daemon was.
        let _ = self.jetstream.delete_stream(advisories).await;
        let _ = self.jetstream.delete_stream(target.claims_log()).await;
        Ok(())
    }

    /// Publishes with `risksignal produce`.
    pub async fn produce(&self, stream: &Stream, arguments: &[&str]) -> Result<()> {
        let mut all = vec!["produce"];
        all.extend(arguments);
        let environment = self.nats_environment(stream);
        self.run(&self.risksignal, &all, &environment).await
    }

    fn nats_environment(&self, stream: &Stream) -> Vec<(String, String)> {
        let variables = [
            setting!(nats.url = self.nats.url()),
            // Several may run at once.
            setting!(ops.listen = "127.0.0.1:0".to_owned()),
            setting!(stream.name = stream.name.clone()),
            setting!(stream.subject_prefix = stream.prefix.clone()),
            setting!(dead_letters.name = dead_letters(stream)),
        ];
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    async fn run(
        &self,
        risksignal: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<()> {
        let mut command = Command::new(risksignal);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().cloned())
            .current_dir(self.dir())
            .stdin(Stdio::null());
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run risksignal")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "risksignal {arguments:?}: {stderr}"
        );
        Ok(())
    }
}

fn dead_letters(stream: &Stream) -> String {
    format!("{}_DLQ", stream.name)
}
