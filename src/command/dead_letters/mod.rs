//! `risksignal dead-letters`: lists, shows, replays, removes and exports messages that could not be
//! inserted.

mod args;
mod export;
mod follow;
mod json;
mod list;
mod newest;
pub(super) mod output;
mod purge;
mod replay;
mod select;
mod show;
mod summary;

pub use args::{
    DeadLettersCommand, ExportArgs, ListArgs, PurgeArgs, ReplayArgs, Selection, ShowArgs, moment,
};

use std::io;
use std::path::PathBuf;

use jetstream::dead_letter::{DeadLetterStream, DeadLetterStreamError};
use jetstream::{self, ConnectError};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// Reason for which a command on dead letters failed or did part of its work.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// NATS is unreachable.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The dead letters cannot be read or removed.
    #[error(transparent)]
    Letters(#[from] DeadLetterStreamError),
    /// The command has no selection.
    #[error(
        "no dead letters selected: narrow the selection (see --help), or give --all for every one"
    )]
    NothingChosen,
    /// The purge was not confirmed.
    #[error(
        "nothing was removed; there is no terminal for a confirmation, so give --yes to remove dead letters"
    )]
    NotConfirmed,
    /// The answer to the question was not yes.
    #[error("nothing was removed")]
    Declined,
    /// The stream of dead letters cannot be purged.
    #[error("cannot purge stream {stream}: {source}")]
    Purge {
        /// Name of the stream.
        stream: String,
        /// Error of the client or the server.
        source: async_nats::jetstream::stream::PurgeError,
    },
    /// Some dead letters stay; each was reported.
    #[error("{failed} of {chosen} dead letters were not replayed and stay in the stream")]
    NotAllReplayed {
        /// Number of dead letters that were not replayed.
        failed: u64,
        /// Number of selected dead letters.
        chosen: u64,
    },
    /// A shutdown interrupted the command.
    #[error("stopped; finished work stays done, and the command may be run again")]
    Stopped,
    /// The export's file cannot be written.
    #[error("cannot write {path}: {source}; a file that exists is not overwritten")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Standard output cannot be written, or the terminal cannot be read.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs a subcommand.
///
/// # Errors
/// Fails when NATS fails, or the command cannot do all of its work.
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
    let letters = DeadLetterStream::open(&context, settings.plan()).await?;
    let done = async {
        match command {
            DeadLettersCommand::List(args) if args.summary => {
                summary::summary(args, &letters).await
            }
            DeadLettersCommand::List(args) if args.follow => {
                follow::follow(args, &letters, &context, settings.plan()).await
            }
            DeadLettersCommand::List(args) => list::list(args, &letters).await,
            DeadLettersCommand::Show(args) => show::show(args, &letters).await,
            DeadLettersCommand::Purge(args) => purge::purge(args, &letters, &context).await,
            DeadLettersCommand::Export(args) => export::export(args, &letters).await,
            DeadLettersCommand::Replay(args) => {
                // Ends by itself on a shutdown, after the replays that it has begun.
                let stream = &settings.stream.name;
                return replay::replay(args, &letters, &context, stream, &shutdown).await;
            }
        }
    };
    if matches!(command, DeadLettersCommand::Replay(_)) {
        return done.await;
    }
    tokio::select! {
        result = done => result,
        () = shutdown.cancelled() => match command {
            DeadLettersCommand::List(args) if args.follow => Ok(()),
            _ => Err(DeadLettersError::Stopped),
        },
    }
}
