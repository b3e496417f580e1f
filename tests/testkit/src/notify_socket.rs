//! The socket on which systemd listens to a service, sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::wait::eventually;

pub struct NotifySocket {
    path: PathBuf,
    /// Every assignment that came, in order.
    heard: Arc<Mutex<Vec<String>>>,
}

impl NotifySocket {
    /// Listens until the test ends.
    pub fn bind(dir: &Path) -> Self {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut datagram = [0; 64 * 1024];
            while let Ok(length) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                let lines = text.lines().map(str::to_owned);
                hears.lock().unwrap().extend(lines);
            }
        });
        Self { path, heard }
    }

    /// Environment that systemd gives a service.
    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Every assignment until now.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits for an assignment that begins so, and returns it.
    pub async fn hears(&self, beginning: &str) -> String {
        eventually(beginning, async || {
            let heard = self.heard();
            heard.into_iter().find(|line| line.starts_with(beginning))
        })
        .await
    }

    /// Number of times that this assignment came.
    pub fn count(&self, assignment: &str) -> usize {
        let heard = self.heard();
        heard.iter().filter(|line| *line == assignment).count()
    }

    /// Waits until this assignment has come `more` times again.
    pub async fn hears_again(&self, assignment: &str, more: usize) {
        let before = self.count(assignment);
        eventually(assignment, async || {
            (self.count(assignment) >= before + more).then_some(())
        })
        .await;
    }
}
