//! SIGHUP: reads the settings again, and applies those that can change in a running daemon.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use option_kit::Faults;
use telemetry::log::LogFilter;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::ops::health::{Dependency, Health};
use crate::service_manager;
use crate::settings::{Reloaded, SettingChange, Settings};

/// Logged when new settings cannot be used.
pub const REFUSED: &str = "The configuration has faults; nothing changes";
/// Logged when new settings are in use.
pub const RELOADED: &str = "The configuration was read again";
/// Logged when no setting that can change has changed.
pub const UNCHANGED: &str = "The configuration was read again; no live setting has changed";
/// Logged for settings that a running daemon does not change.
pub const NEEDS_RESTART: &str = "Some of the configuration changes only with a restart";

/// Settings in force. Each task reads a setting that SIGHUP changes through this handle.
pub type SettingsHandle = watch::Receiver<Arc<Settings>>;

/// Creates the handle of the settings in force, and its sender.
#[expect(clippy::disallowed_methods, reason = "a watch holds one value")]
pub(crate) fn channel(settings: Settings) -> (watch::Sender<Arc<Settings>>, SettingsHandle) {
    watch::channel(Arc::new(settings))
}

/// Source of the settings, and the parts that apply them without a [`SettingsHandle`].
pub struct Reload {
    /// File named by `--config`.
    pub file: Option<PathBuf>,
    /// Filter of log lines.
    pub filter: LogFilter,
}

impl Reload {
    /// Returns the settings in force, and reads them again at each SIGHUP from now on.
    ///
    /// # Errors
    /// Fails when the handler cannot be installed.
    pub fn on_sighup(self, settings: Settings, health: &Arc<Health>) -> io::Result<SettingsHandle> {
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
            // A starting or stopping daemon must not report itself ready.
            let is_running = health.is_up(Dependency::Pipeline);
            if is_running {
                service_manager::reloading().await;
            }
            match self.read(&in_force).await {
                Ok(reloaded) => self.take(reloaded, &in_force),
                Err(error) => {
                    error!(%error, "{REFUSED}");
                }
            }
            if is_running {
                service_manager::ready().await;
            }
        }
    }

    /// Reads on its own thread, since a file may be on a disk that does not answer.
    async fn read(&self, in_force: &watch::Sender<Arc<Settings>>) -> Result<Reloaded, Faults> {
        let settings = Arc::clone(&in_force.borrow());
        let file = self.file.clone();
        match spawn_blocking(move || settings.reload(file.as_deref())).await {
            Ok(result) => result,
            // A panic there has ended the process; otherwise the runtime is ending.
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
            error!(%error, "The new log filter cannot be used; keeping the current one");
        }
        in_force.send_replace(Arc::new(settings));
        if changed.is_empty() {
            info!("{UNCHANGED}");
        } else {
            let changed = list(&changed);
            info!(changed, "{RELOADED}");
        }
        if !needs_restart.is_empty() {
            let needs_restart = list(&needs_restart);
            warn!(needs_restart, "{NEEDS_RESTART}");
        }
    }
}

fn list(changes: &[SettingChange]) -> String {
    let words: Vec<String> = changes.iter().map(SettingChange::to_string).collect();
    words.join("; ")
}
