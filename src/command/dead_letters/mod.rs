//! `risksignal dead-letters`: what could not land, looked at, replayed, removed, exported.

mod args;
mod export;
mod json;
mod list;
mod output;
mod purge;
mod replay;
mod select;
mod show;

pub use args::{
    DeadLettersCommand, ExportArgs, ListArgs, PurgeArgs, ReplayArgs, Selection, ShowArgs,
};

use std::io;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::dead_letter::{Letters, LettersError};
use crate::jetstream::{self, ConnectError};
use crate::settings::Settings;

/// Why a command on dead letters did not do all that was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// NATS cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The letters cannot be read or removed.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// Nothing says which letters.
    #[error("which letters? narrow the choice (see --help), or give --all for every one")]
    NothingChosen,
    /// A purge that was not confirmed.
    #[error("nothing was removed; there is no terminal to ask on, so give --yes to remove letters")]
    NotConfirmed,
    /// The answer to the question was not yes.
    #[error("nothing was removed")]
    Declined,
    /// The stream of dead letters cannot be purged.
    #[error("cannot purge stream {stream}: {source}")]
    Purge {
        /// The stream.
        stream: String,
        /// What the client or the server says.
        source: async_nats::jetstream::stream::PurgeError,
    },
    /// Some letters stay, each of which was told of.
    #[error("{failed} of {chosen} letters were not replayed and stay where they are")]
    NotAllReplayed {
        /// Letters not replayed.
        failed: u64,
        /// Letters chosen.
        chosen: u64,
    },
    /// It was told to stop.
    #[error("stopped; what was done until then stays done, and the command may be run again")]
    Stopped,
    /// The export's file cannot be written.
    #[error("cannot write {path}: {source}; a file that exists is not overwritten")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs one of the commands.
///
/// # Errors
/// When NATS fails, or not all that was asked for is done.
pub async fn dead_letters(
    command: &DeadLettersCommand,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<(), DeadLettersError> {
    if let DeadLettersCommand::Replay(args) = command
        && args.selection.is_everything()
        && !args.all
    {
        return Err(DeadLettersError::NothingChosen);
    }
    let client = jetstream::connect(&settings.nats, "risksignal dead-letters").await?;
    let context = jetstream::context(&client, &settings.nats);
    let letters = Letters::open(&context, settings).await?;
    let done = async {
        match command {
            DeadLettersCommand::List(args) => list::list(args, &letters).await,
            DeadLettersCommand::Show(args) => show::show(args, &letters).await,
            DeadLettersCommand::Purge(args) => purge::purge(args, &letters, &context).await,
            DeadLettersCommand::Export(args) => export::export(args, &letters).await,
            DeadLettersCommand::Replay(args) => {
                // It ends by itself at a stop, with what it has begun.
                let stream = &settings.stream.name;
                return replay::replay(args, &letters, &context, stream, &shutdown).await;
            }
        }
    };
    let result = if matches!(command, DeadLettersCommand::Replay(_)) {
        done.await
    } else {
        tokio::select! {
            result = done => result,
            () = shutdown.cancelled() => Err(DeadLettersError::Stopped),
        }
    };
    match result {
        // Whoever reads the output has seen enough, such as `head`.
        Err(DeadLettersError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
