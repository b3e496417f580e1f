//! SIGHUP: the settings are read again, and what can change in a running daemon does.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::ops::health::{Dependency, Health};
use crate::service_manager;
use crate::settings::{Change, Faults, Reloaded, Settings};
use crate::telemetry::log::LogFilter;

/// The settings in force. Whoever keeps a copy of one that SIGHUP changes looks here for it.
pub type InForce = watch::Receiver<Arc<Settings>>;

/// The settings in force, and the way to change them.
pub(crate) fn channel(settings: Settings) -> (watch::Sender<Arc<Settings>>, InForce) {
    watch::channel(Arc::new(settings))
}

/// Where the settings come from, and what takes them up without looking at [`InForce`].
pub struct Reload {
    /// The file that `--config` names.
    pub file: Option<PathBuf>,
    /// What is logged.
    pub filter: LogFilter,
}

impl Reload {
    /// The settings in force, which are read again at each SIGHUP from now on.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn on_sighup(self, settings: Settings, health: &Arc<Health>) -> io::Result<InForce> {
        let hangups = signal(SignalKind::hangup())?;
        let (sender, in_force) = channel(settings);
        tokio::spawn(self.run(hangups, sender, Arc::clone(health)));
        Ok(in_force)
    }

    async fn run(
        self,
        mut hangups: Signal,
        in_force: watch::Sender<Arc<Settings>>,
        health: Arc<Health>,
    ) {
        while hangups.recv().await.is_some() {
            // A daemon that has not begun yet, or stops, is not to call itself ready.
            let is_running = health.is_up(Dependency::Pipeline);
            if is_running {
                service_manager::reloading().await;
            }
            match self.read(&in_force).await {
                Ok(reloaded) => self.take(reloaded, &in_force),
                Err(error) => {
                    error!(%error, "The configuration has faults; nothing changes");
                }
            }
            if is_running {
                service_manager::ready().await;
            }
        }
    }

    /// From a thread of its own, since a file may be on a disk that is away.
    async fn read(&self, in_force: &watch::Sender<Arc<Settings>>) -> Result<Reloaded, Faults> {
        let settings = Arc::clone(&in_force.borrow());
        let file = self.file.clone();
        match spawn_blocking(move || settings.reload(file.as_deref())).await {
            Ok(result) => result,
            // A panic there has ended the process; the runtime does.
            Err(_) => std::future::pending().await,
        }
    }

    fn take(&self, reloaded: Reloaded, in_force: &watch::Sender<Arc<Settings>>) {
        let Reloaded {
            settings,
            changed,
            needs_restart,
        } = reloaded;
        if let Err(error) = self.filter.set(&settings.log) {
            error!(%error, "The log's filter stays as it was");
        }
        in_force.send_replace(Arc::new(settings));
        if changed.is_empty() {
            info!("The configuration was read again; nothing that can change now has changed");
        } else {
            let changed = list(&changed);
            info!(changed, "The configuration was read again");
        }
        if !needs_restart.is_empty() {
            let needs_restart = list(&needs_restart);
            warn!(
                needs_restart,
                "Some of the configuration changes only with a restart"
            );
        }
    }
}

fn list(changes: &[Change]) -> String {
    let words: Vec<String> = changes.iter().map(Change::to_string).collect();
    words.join("; ")
}
