//! A private ClickHouse.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clickhouse::{Client, RowOwned, RowRead};

use crate::process::{Process, accepts, free_port, stack_serve};
use crate::wait::eventually;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "risksignal_dev_2026";

pub struct ClickHouse {
    process: Mutex<Process>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    port: u16,
    /// One for all queries, with its connections.
    client: Client,
}

impl ClickHouse {
    /// `options` are further arguments of `stack serve clickhouse`.
    pub fn spawn(data: PathBuf, options: &[String]) -> Self {
        Self::spawn_in(Vec::new(), data, options)
    }

    /// Like [`Self::spawn`], with these variables in its environment besides.
    pub fn spawn_in(environment: Vec<(String, String)>, data: PathBuf, options: &[String]) -> Self {
        std::fs::create_dir_all(&data).unwrap();
        let port = free_port();
        let mut arguments = vec![
            "clickhouse".to_owned(),
            format!("--data={}", data.display()),
            format!("--http-port={port}"),
        ];
        arguments.extend_from_slice(options);
        let log = data.join("output.log");
        let mut command = stack_serve(&arguments);
        command.envs(environment.iter().cloned());
        Self {
            process: Mutex::new(Process::spawn(command, &log)),
            arguments,
            environment,
            log,
            port,
            client: Client::default()
                .with_url(url(port))
                .with_user(USER)
                .with_password(PASSWORD)
                .with_database("risksignal"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().unwrap().pid()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    pub async fn ready(&self) {
        accepts(self.port).await;
        eventually("ClickHouse answers", async || {
            self.client().query("SELECT 1").execute().await.ok()
        })
        .await;
    }

    pub fn signal(&self, name: &str) {
        self.process.lock().unwrap().signal(name);
    }

    pub fn kill(&self) {
        self.process.lock().unwrap().kill();
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        // The log is in it.
        self.log.parent().unwrap()
    }

    /// Starts it again on the same data and port.
    pub async fn restart(&self) {
        let mut command = stack_serve(&self.arguments);
        command.envs(self.environment.iter().cloned());
        let process = Process::spawn(command, &self.log);
        *self.process.lock().unwrap() = process;
        self.ready().await;
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub async fn execute(&self, sql: &str) {
        self.client().query_raw(sql).execute().await.unwrap();
    }

    /// The rows of a query.
    pub async fn rows<T: RowOwned + RowRead>(&self, sql: &str) -> Vec<T> {
        self.client().query_raw(sql).fetch_all().await.unwrap()
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: &str) -> u64 {
        self.client().query_raw(sql).fetch_one().await.unwrap()
    }

    /// Rows, and distinct sequences among them; zero while there is no table.
    pub async fn counts(&self) -> (u64, u64) {
        let sql = "SELECT count(), uniqExact(stream_seq) FROM raw_signals";
        let counts = self.client().query_raw(sql).fetch_one().await;
        counts.unwrap_or_default()
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
