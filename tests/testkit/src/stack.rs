//! A NATS and a ClickHouse for one test.

use std::path::PathBuf;
use std::time::Duration;

use risksignal::command::log_lines::STARTING;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::binary::{Daemon, risksignal};
use crate::clickhouse::{self, ClickHouse};
use crate::nats::{self, Nats};
use crate::small_disk::SmallDisk;
use crate::variable;
use crate::wait::{DEADLINE, eventually};

/// A private NATS and ClickHouse.
pub struct Stack {
    pub nats: Nats,
    pub clickhouse: ClickHouse,
    disks: Vec<SmallDisk>,
    dir: TempDir,
    kept: Vec<TempDir>,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with_nats_options(&[]).await
    }

    /// `options` are further arguments of `stack serve nats`.
    pub async fn with_nats_options(options: &[&str]) -> Self {
        Self::with(nats::Options::arguments(options), &[]).await
    }

    /// `clickhouse` are further arguments of `stack serve clickhouse`.
    pub async fn with(nats: nats::Options, clickhouse: &[String]) -> Self {
        Self::with_clickhouse(nats, clickhouse, Vec::new()).await
    }

    /// With small disks of so many MiB for NATS, ClickHouse or both, in this order; `None` where
    /// this user may not mount.
    pub async fn on_small_disks(
        nats: nats::Options,
        mib: (Option<u32>, Option<u32>),
    ) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let folders = [("nats", mib.0), ("clickhouse", mib.1)].into_iter();
        let disks =
            folders.filter_map(|(name, mib)| Some(SmallDisk::mount(&dir.path().join(name), mib?)));
        let disks = disks.collect::<Option<Vec<_>>>()?;
        Some(Self::in_folder(dir, disks, nats, &[], Vec::new()).await)
    }

    /// The small disk of its only server that has one.
    pub fn disk(&self) -> &SmallDisk {
        &self.disks[0]
    }

    /// Like [`Self::with`], and `environment` is ClickHouse's.
    pub async fn with_clickhouse(
        nats: nats::Options,
        clickhouse: &[String],
        environment: Vec<(String, String)>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::in_folder(dir, Vec::new(), nats, clickhouse, environment).await
    }

    async fn in_folder(
        dir: TempDir,
        disks: Vec<SmallDisk>,
        nats: nats::Options,
        clickhouse: &[String],
        environment: Vec<(String, String)>,
    ) -> Self {
        let nats = Nats::spawn(dir.path().join("nats"), nats);
        let data = dir.path().join("clickhouse");
        let clickhouse = ClickHouse::spawn_in(environment, data, clickhouse);
        nats.ready().await;
        clickhouse.ready().await;
        Self {
            nats,
            clickhouse,
            disks,
            dir,
            kept: Vec::new(),
        }
    }

    /// Keeps a folder for as long as the servers.
    pub fn keep(&mut self, folder: TempDir) {
        self.kept.push(folder);
    }

    /// An empty folder for a process to run in.
    pub fn work_dir(&self) -> PathBuf {
        let dir = self.dir.path().join("work");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The environment that points the binary at these servers, and `more`.
    pub fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment = vec![
            (variable!(nats.url).to_owned(), self.nats.url()),
            (variable!(clickhouse.url).to_owned(), self.clickhouse.url()),
            (
                variable!(clickhouse.user).to_owned(),
                clickhouse::USER.to_owned(),
            ),
            (
                variable!(clickhouse.password).to_owned(),
                clickhouse::PASSWORD.to_owned(),
            ),
            // Daemons that run side by side; a test that asks one says 127.0.0.1:0.
            (variable!(ops.listen).to_owned(), "off".to_owned()),
            (variable!(log.format).to_owned(), "json".to_owned()),
        ];
        environment.extend(
            more.iter()
                .map(|(key, value)| (key.to_string(), value.to_string())),
        );
        environment
    }

    /// Starts `risksignal run` and waits until it pulls.
    pub async fn daemon(&self, more: &[(&str, &str)]) -> Daemon {
        let daemon = self.daemon_not_waited_for(more);
        daemon.logged(STARTING).await;
        daemon
    }

    /// Starts `risksignal run`.
    pub fn daemon_not_waited_for(&self, more: &[(&str, &str)]) -> Daemon {
        Daemon::spawn(&["run"], &self.environment(more), &self.work_dir())
    }

    /// Runs `risksignal` to its end.
    pub async fn risksignal(&self, arguments: &[&str]) -> std::process::Output {
        risksignal(arguments, &self.environment(&[]), &self.work_dir()).await
    }

    /// Makes ClickHouse refuse each row whose `source_id` is `seven`.
    pub async fn refuse_source_seven(&self) {
        self.risksignal(&["migrate"]).await;
        self.clickhouse
            .execute("ALTER TABLE raw_signals ADD CONSTRAINT no_seven CHECK source_id != 'seven'")
            .await;
    }

    /// Runs `risksignal` to its end, with `more` in its environment.
    pub async fn risksignal_with(
        &self,
        arguments: &[&str],
        more: &[(&str, &str)],
    ) -> std::process::Output {
        risksignal(arguments, &self.environment(more), &self.work_dir()).await
    }

    /// Output of `risksignal check` with these settings, which finds nothing wrong.
    pub async fn check(&self, settings: &[(&str, &str)]) -> String {
        let output = self.risksignal_with(&["check"], settings).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    /// Publishes with `risksignal produce`, and expects it to succeed.
    pub async fn produce(&self, arguments: &[&str]) {
        let mut all = vec!["produce"];
        all.extend(arguments);
        let output = self.risksignal(&all).await;
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until the stream holds nothing that is not settled.
    pub async fn settled(&self) {
        self.settled_by(nats::CONSUMER).await;
    }

    /// Like [`Self::settled`], while good signals come, and returns how many: a refused row is
    /// blamed once ClickHouse has taken another one since.
    pub async fn settled_beside_others(&self) -> u64 {
        let end = Instant::now() + DEADLINE;
        let mut others = 0;
        while !self.is_settled(nats::CONSUMER).await {
            assert!(Instant::now() < end, "something stays pending");
            let seed = format!("--seed={}", 1_000_000 + others);
            self.produce(&["--count=1", &seed]).await;
            others += 1;
            sleep(Duration::from_millis(500)).await;
        }
        others
    }

    /// Like [`Self::settled`], by the consumer of this name.
    pub async fn settled_by(&self, consumer: &str) {
        eventually("nothing is pending", async || {
            self.is_settled(consumer).await.then_some(())
        })
        .await;
    }

    /// Reports whether a consumer has delivered all messages and got all acks.
    async fn is_settled(&self, consumer: &str) -> bool {
        let consumer = self.nats.consumer_named(consumer).await;
        consumer.is_some_and(|one| one.num_pending == 0 && one.num_ack_pending == 0)
    }
}
