//! Child processes that never outlive their test.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::repository::repository;
use crate::wait::eventually;

/// A child process, killed when dropped, with its output in a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            log: log.to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status, when it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Output until now.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Sends a signal. Waits after `STOP` until no thread of the process runs any more: on a busy
    /// machine they go on, and answer requests, for milliseconds.
    #[expect(
        clippy::disallowed_methods,
        reason = "a millisecond, on a thread that waits for a process anyway"
    )]
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
        while name == "STOP" && !threads_are_stopped(&pid) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The status, once it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..300 * 20 {
            if let Some(status) = self.status() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the process did not end; it wrote:\n{}", self.output());
    }

    /// Fails the test when it has ended, which it should not have.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.status() {
            panic!(
                "the process ended with {status}; it wrote:\n{}",
                self.output()
            );
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<_> = output.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                eprintln!("{}: {line}", self.log.display());
            }
        }
    }
}

/// A server of the local stack, in a process of its own. `infra/local/stack serve` becomes the
/// server, so that the pid is the server's.
pub fn stack_serve(arguments: &[String]) -> Command {
    let mut command = Command::new(python());
    command
        .arg(repository("infra/local/stack"))
        .arg("serve")
        .args(arguments)
        .arg("--die-with-parent");
    command
}

/// The interpreter itself: the stand-in of a version manager costs more than the rest of a start.
#[expect(
    clippy::disallowed_types,
    reason = "asked once for all tests of a program"
)]
fn python() -> &'static Path {
    static PYTHON: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable, end='')"])
            .output();
        PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap())
    });
    &PYTHON
}

/// A port on loopback that was free a moment ago.
///
/// Below the ports that the kernel gives to outgoing connections: one of those could take it
/// while its server is being started again.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(15_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something accepts connections on a port.
pub async fn accepts(port: u16) {
    eventually("a server accepts connections", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .ok()
    })
    .await;
}

/// Reads the state of each thread, which follows the name in parentheses (proc_pid_stat(5)). A
/// process that has ended has none that runs.
fn threads_are_stopped(pid: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| matches!(state, Some('T' | 't' | 'Z' | 'X')))
    })
}
