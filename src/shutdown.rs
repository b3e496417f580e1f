//! The one shutdown token, cancelled by SIGTERM or SIGINT.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The exit status after a second signal: 128 + SIGINT, as a shell reports it.
const EXIT_SECOND_SIGNAL: i32 = 130;

/// Cancels the returned token at the first SIGTERM or SIGINT; the second one ends the
/// process at once, leaving what is not acked to be delivered again.
///
/// # Errors
/// When the handlers cannot be installed.
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
        warn!(
            signal = name,
            "Stopping; a second signal stops without waiting"
        );
        first.cancel();
        let name = next().await;
        warn!(
            signal = name,
            "Stopped at once; what was not acked is delivered again"
        );
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    Ok(token)
}
