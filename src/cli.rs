//! The command line. Types only; what a command does is in [`crate::command`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::cache::CacheCommand;
use crate::command::dead_letters::DeadLettersCommand;
use crate::command::produce::ProduceArgs;
use crate::command::schema::SchemaCommand;
use crate::command::serve::{ServeArgs, ServeCommand, TokenArgs};
use crate::fault_point::FaultPoints;

/// Moves an application's risk signals from NATS JetStream into ClickHouse and never loses
/// one.
#[derive(Debug, Parser)]
#[command(
    name = "risksignal",
    version,
    after_help = "Settings come from defaults, a TOML file, a .env file, systemd's credentials and the environment,\nin that order; .env.example lists them all. A configuration with faults ends with status 78."
)]
pub struct Cli {
    /// The configuration file [default: risksignal.toml, where present]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: move signals from JetStream into ClickHouse until SIGTERM or SIGINT
    Run(RunArgs),
    /// Take signals over HTTP and publish them to JetStream, until SIGTERM or SIGINT
    Serve(ServeArgs),
    /// Publish test signals to JetStream, or the lines of a file
    Produce(ProduceArgs),
    /// Look at the messages that could not land, and replay, remove or export them
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Tell what each type of signal has to carry, and check a file of signals
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Make the cache of wallets in Redis anew
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Land messages again that a restored table lacks
    #[command(
        after_help = "For a table that was restored to an earlier moment by itself. Waits until no insert that is under\nway can land, and then has the running daemons look each message up in the table and among the\ndead letters; what is in neither lands again, as far as the stream still has it. Rows that were\nerased on purpose come back, so it asks first."
    )]
    Reingest(ReingestArgs),
    /// Create or upgrade the ClickHouse schema
    #[command(
        after_help = "Applies the migrations whose numbers the table schema_migrations does not have. A schema that a\nnewer release migrated stays as it is, and is named."
    )]
    Migrate(MigrateArgs),
    /// Check the configuration, the servers, the stream, the consumer and the schema
    #[command(
        after_help = "Changes nothing. The exit status is 0 when all is well, 78 for a faulty configuration,\nand otherwise the sum of: 1 NATS, 2 stream, 4 consumer, 8 ClickHouse, 16 schema, 32 cache."
    )]
    Check,
    /// Ask a running daemon how it is
    #[command(
        after_help = "Asks on ops.listen, with ops.token, as the daemon's own settings have them. The exit status is 0\nwhen the daemon is ready, 3 when it is not, and 1 when it cannot be asked."
    )]
    Status(StatusArgs),
    /// Watch a running daemon in the terminal
    #[command(after_help = "Asks as `risksignal status` does, each second. q or Ctrl-C ends it.")]
    Top,
}

impl Command {
    /// The arguments of `serve token`. It needs no settings, which may name the file that its first
    /// token is for.
    pub fn token(&self) -> Option<&TokenArgs> {
        match self {
            Self::Serve(args) => args.command.as_ref().map(|ServeCommand::Token(args)| args),
            _ => None,
        }
    }
}

/// Arguments of `risksignal status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print what /statusz answers
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `risksignal run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Leave the ClickHouse schema as it is, whatever clickhouse.migrate says
    #[arg(long)]
    pub no_migrate: bool,

    /// Where a test stops the process, such as insert-answered:3.
    #[cfg(feature = "fault-points")]
    #[arg(long, hide = true)]
    pub fault_point: Option<FaultPoints>,
}

impl RunArgs {
    /// Where a test stops the process; nowhere but in a test.
    pub fn fault_points(&self) -> FaultPoints {
        #[cfg(feature = "fault-points")]
        return self.fault_point.clone().unwrap_or_default();
        #[cfg(not(feature = "fault-points"))]
        FaultPoints::default()
    }
}

/// Arguments of `risksignal reingest`.
#[derive(Debug, Args)]
pub struct ReingestArgs {
    /// Sequence of the first message in the stream
    #[arg(long, value_name = "SEQUENCE")]
    pub from: u64,

    /// Sequence of the last message [default: the last one of the stream]
    #[arg(long, value_name = "SEQUENCE")]
    pub to: Option<u64>,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `risksignal migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Print the statements that would run, and run none
    #[arg(long)]
    pub dry_run: bool,
}
