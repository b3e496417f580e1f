//! Notifications to systemd by sd_notify(3). Without `NOTIFY_SOCKET` they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tracing::debug;

/// Reports that the daemon is running.
pub async fn ready() {
    notify(&[NotifyState::Ready]).await;
}

/// Sets the status line in `systemctl status`.
pub async fn status(text: &str) {
    notify(&[NotifyState::Status(&one_line(text))]).await;
}

/// Extends the startup: the reason, and the longest time until the next notification.
pub async fn starting(reason: &str, at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Status(&one_line(reason)),
        NotifyState::ExtendTimeoutUsec(micros),
    ])
    .await;
}

/// Reports that the daemon reads its settings again; the next [`ready`] ends it.
pub async fn reloading() {
    // systemd requires the time from a unit with Type=notify-reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]).await,
        Err(_) => notify(&[NotifyState::Reloading]).await,
    }
}

/// Reports that the daemon is stopping.
pub async fn stopping(text: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(&one_line(text))]).await;
}

/// Reports that the daemon is alive; without this, `WatchdogSec=` restarts it.
pub async fn alive() {
    notify(&[NotifyState::Watchdog]).await;
}

/// Returns the interval in which systemd expects [`alive`]; `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends on its own thread: an unresponsive service manager must not delay a stage. The daemon
/// works without notifications; systemd ends it if they are required.
async fn notify(states: &[NotifyState<'_>]) {
    let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
    let text = lines.join("\n");
    let sent = spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&text)]));
    if let Ok(Err(error)) = sent.await {
        debug!(%error, "The service manager was not notified");
    }
}

/// Replaces line breaks, which would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn an_error_cannot_begin_another_assignment() {
        assert_eq!(one_line("away\nMAINPID=1"), "away MAINPID=1");
    }
}
