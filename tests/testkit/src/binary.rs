//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::process::Process;
use crate::wait::eventually;

/// Path of the program under test, which cargo has put beside the folder of the test's executable.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("risksignal");
    assert!(program.exists(), "cargo has built no {}", program.display());
    program
}

fn command(arguments: &[&str], environment: &[(String, String)], dir: &Path) -> Command {
    command_of(&program(), arguments, environment, dir)
}

fn command_of(
    binary: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
    dir: &Path,
) -> Command {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .current_dir(dir);
    command
}

/// Runs the binary to its end.
pub async fn risksignal(
    arguments: &[&str],
    environment: &[(String, String)],
    dir: &Path,
) -> Output {
    let mut command = command(arguments, environment, dir);
    command.stdin(Stdio::null());
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// A running `risksignal`, killed when dropped.
pub struct Daemon {
    process: Process,
}

impl Daemon {
    pub fn spawn(arguments: &[&str], environment: &[(String, String)], dir: &Path) -> Self {
        Self::spawn_of(&program(), arguments, environment, dir)
    }

    /// Like [`Self::spawn`], of another release.
    pub fn spawn_of(
        binary: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
        dir: &Path,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = dir.join(format!("risksignal-{number}.log"));
        Self {
            process: Process::spawn(command_of(binary, arguments, environment, dir), &log),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Output until now.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// The log lines until now.
    pub fn lines(&self) -> Vec<Value> {
        self.process
            .output()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line)))
            .collect()
    }

    /// Waits for a log line with this message, and returns it.
    pub async fn logged(&self, message: &str) -> Value {
        eventually(message, async || {
            self.lines()
                .into_iter()
                .find(|line| line["message"] == message)
        })
        .await
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn assert_running(&mut self) {
        self.process.assert_running();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.process.ended().await
    }

    /// SIGTERM, and the status that it ends with.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Most memory of its own that was resident at once, in MiB: without the pages of the program's
    /// file, which the kernel can drop. A debug build has tens of MiB of them.
    pub fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.pid());
        let status = std::fs::read_to_string(path).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1));
            kib.unwrap().parse().unwrap()
        };
        (kib("VmHWM:") - kib("RssFile:")) / 1024
    }
}
