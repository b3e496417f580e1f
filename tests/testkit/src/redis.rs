//! A real Redis.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue};

use crate::process::{Process, accepts, free_port};

/// A Redis of a test's own, killed when dropped. It keeps nothing on disk.
pub struct Redis {
    process: Mutex<Process>,
    options: Vec<String>,
    dir: PathBuf,
    port: u16,
}

impl Redis {
    pub async fn start(dir: &Path) -> Self {
        Self::with(dir, &[]).await
    }

    /// `options` are further ones of `redis-server`.
    pub async fn with(dir: &Path, options: &[String]) -> Self {
        let (options, port) = (options.to_vec(), free_port());
        let redis = Self {
            process: Mutex::new(serve(dir, port, &options)),
            options,
            dir: dir.to_owned(),
            port,
        };
        accepts(port).await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn signal(&self, name: &str) {
        self.process.lock().unwrap().signal(name);
    }

    pub fn kill(&self) {
        self.process.lock().unwrap().kill();
    }

    /// Starts it again, empty, on the same port.
    pub async fn restart(&self) {
        *self.process.lock().unwrap() = serve(&self.dir, self.port, &self.options);
        accepts(self.port).await;
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Sends a command, and returns the answer.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut asked = Cmd::new();
        asked.arg(command);
        asked
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }
}

fn serve(dir: &Path, port: u16, options: &[String]) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir)
        .args(options);
    Process::spawn(command, &dir.join(format!("redis-{port}.log")))
}
