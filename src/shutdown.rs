//! The one shutdown token, cancelled by SIGTERM or SIGINT.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Logged at the first signal.
pub const STOPPING: &str = "Stopping; a second signal stops without waiting";

/// Exit status after a second signal: 128 + SIGINT, as a shell reports it.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Cancels the returned token at the first SIGTERM or SIGINT. The second one ends the process at
/// once; JetStream delivers unacked messages again.
///
/// # Errors
/// Fails when the handlers cannot be installed.
#[expect(
    clippy::disallowed_methods,
    reason = "a second signal asks for just that"
)]
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        warn!(signal = name, "{STOPPING}");
        first.cancel();
        let name = next().await;
        warn!(
            signal = name,
            "Stopped at once; JetStream delivers unacked messages again"
        );
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    Ok(token)
}
