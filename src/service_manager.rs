//! What systemd is told of this process, by sd_notify(3). Where no `NOTIFY_SOCKET` asks for
//! it, nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tracing::debug;

/// The daemon moves signals.
pub async fn ready() {
    notify(&[NotifyState::Ready]).await;
}

/// What the daemon does, in one line of `systemctl status`.
pub async fn status(text: &str) {
    notify(&[NotifyState::Status(&one_line(text))]).await;
}

/// The start goes on: why it is not complete, and the time it may take until the next word.
pub async fn starting(reason: &str, at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Status(&one_line(reason)),
        NotifyState::ExtendTimeoutUsec(micros),
    ])
    .await;
}

/// The daemon reads its settings again; until the next [`ready`].
pub async fn reloading() {
    // Of a unit with Type=notify-reload systemd asks for the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]).await,
        Err(_) => notify(&[NotifyState::Reloading]).await,
    }
}

/// The daemon begins to stop.
pub async fn stopping(text: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(&one_line(text))]).await;
}

/// The daemon lives; without this for `WatchdogSec=` it is restarted.
pub async fn alive() {
    notify(&[NotifyState::Watchdog]).await;
}

/// Within which time [`alive`] is expected; `None` where it is not.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends from a thread of its own: a service manager that does not listen must not hold up a
/// stage. A daemon that cannot be heard works all the same; systemd ends it where that matters.
async fn notify(states: &[NotifyState<'_>]) {
    let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
    let text = lines.join("\n");
    let sent = spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&text)]));
    if let Ok(Err(error)) = sent.await {
        debug!(%error, "The service manager was not told");
    }
}

/// A line break would begin another assignment.
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
