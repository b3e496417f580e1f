//! `risksignal tap`: shows signals as they arrive in the stream.

mod args;
mod error;
mod line;
mod print;
mod reader;
mod seen;

pub use args::TapArgs;
pub use error::TapError;

use std::io;
use std::time::Duration;

use console::Term;
use option_kit::redacted_url;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::command::output;
use crate::settings::Settings;

use line::Format;
use reader::{Arrival, TapReader};
use seen::{Seen, SignalFilter};

/// Time that lines have at Ctrl-C to be printed.
const GRACE: Duration = Duration::from_millis(200);

/// Shows signals until `shutdown`, `--count`, or the end of whatever reads the output.
///
/// # Errors
/// Fails when NATS or the stream cannot be reached at the start, or the output cannot be written.
pub async fn tap(
    args: &TapArgs,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<(), TapError> {
    let client = jetstream::connect(&settings.nats, "risksignal tap").await?;
    let context = jetstream::context(&client, &settings.nats);
    let mut reader = TapReader::open(context, client.max_payload(), settings, args).await?;
    let format = match args.json {
        true => Format::Json,
        false => Format::Text {
            is_colored: console::colors_enabled(),
            columns: output::columns(),
        },
    };
    if !args.json && Term::stderr().is_term() {
        let (url, stream) = (redacted_url(&settings.nats.url), &settings.stream.name);
        output::note(format_args!(
            "tapping stream {stream} at {url}; Ctrl-C ends it"
        ));
    }
    let (lines, printed) = print::start();
    let is_whole = tokio::select! {
        () = show(args, settings, &mut reader, format, &lines) => true,
        () = shutdown.cancelled() => false,
    };
    drop(lines);
    let printed = match is_whole {
        true => tokio::select! {
            printed = printed => printed.ok(),
            () = shutdown.cancelled() => None,
        },
        // The output may never take another line.
        false => timeout(GRACE, printed).await.ok().and_then(Result::ok),
    };
    match printed {
        // The reader of the output, such as `head`, has seen enough.
        Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Shows signals until enough are shown, or nobody reads them any more.
async fn show(
    args: &TapArgs,
    settings: &Settings,
    reader: &mut TapReader,
    format: Format,
    lines: &Sender<String>,
) {
    let filter = SignalFilter(args);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let line = match reader.next().await {
            Arrival::Skipped(count) => format.skipped(count),
            Arrival::Message(message) => {
                let seen = Seen::judge(&message, &settings.validation);
                if !filter.accepts(&seen) {
                    continue;
                }
                left -= 1;
                format.line(&seen)
            }
        };
        // The printer has ended, and its result says why.
        if lines.send(line).await.is_err() {
            return;
        }
    }
}
