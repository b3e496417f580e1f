//! The command line. Types only; [`crate::command`] has the commands.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod stamp;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use fault_point::FaultPoints;
use option_kit::web_url;

use crate::command::cache::CacheCommand;
use crate::command::config::ConfigCommand;
use crate::command::dead_letters::DeadLettersCommand;
use crate::command::examples;
use crate::command::manual::{CompletionsArgs, ManArgs};
use crate::command::output::Color;
use crate::command::produce::ProduceArgs;
use crate::command::schema::SchemaCommand;
use crate::command::serve::ServeArgs;
use crate::command::tap::TapArgs;

/// Moves an application's risk signals from NATS JetStream into ClickHouse without losing one.
#[derive(Debug, Parser)]
#[command(
    name = "risksignal",
    version,
    long_version = env!("RISKSIGNAL_LONG_VERSION"),
    after_help = "Settings come from defaults, a TOML file, a .env file, systemd's credentials and the environment,\nin that order; .env.example lists them all. A configuration with faults ends with status 78."
)]
pub struct Cli {
    /// Configuration file [default: risksignal.toml, if present]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Use of color: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", hide_possible_values = true)]
    pub color: Color,

    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Returns the definition of the command line, with the examples of each command.
    pub fn definition() -> clap::Command {
        examples::add(Self::command())
    }

    /// Parses the arguments of this process. Prints help, version or an error, and ends.
    pub fn from_arguments() -> Self {
        let matches = Self::definition().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: move signals from JetStream into ClickHouse until SIGTERM or SIGINT
    Run(RunArgs),
    /// Accept signals over HTTP and publish them to JetStream, until SIGTERM or SIGINT
    Serve(ServeArgs),
    /// Publish test signals to JetStream, or the lines of a file
    Produce(ProduceArgs),
    /// Show signals as they arrive in JetStream, until Ctrl-C
    Tap(TapArgs),
    /// List, show, replay, remove or export messages that could not be inserted
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Print the schema of each type of signal, or check a file of signals
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Rebuild the cache of wallets in Redis
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Insert messages again that a restored table lacks
    #[command(
        after_help = "For a table that was restored to an earlier state, without the streams. Waits until no earlier\ninsert can land, and then makes the running daemons look up each message in the table and among\nthe dead letters. They insert messages that are in neither, if the stream still has them. Rows\nthat were erased on purpose come back, so the command asks for confirmation."
    )]
    Reingest(ReingestArgs),
    /// Create or upgrade the ClickHouse schema
    #[command(
        after_help = "Applies the migrations whose numbers the table schema_migrations lacks. Reports a schema that a\nnewer release migrated, and leaves it unchanged.\n\n--dry-run prints SQL for clickhouse-client, with the cost of each statement as a comment: metadata\nonly, a mutation that links the files of each part, or one that rewrites all rows and needs at most\nthe size of the table on the disk. Inserts continue during all of them. Nothing pending prints\nnothing."
    )]
    Migrate(MigrateArgs),
    /// Check the configuration, servers, streams, consumer, permissions, storage and schema
    #[command(
        after_help = "Changes nothing. Tries the daemon's operations with the daemon's settings, so run it with those.\nThe exit status is 0 without a fault, 1 with one, and 78 for a faulty configuration. A fault (WRONG)\nkeeps the daemon from inserting or publishers from publishing, or is a server that is too old. A\nwarning (WARN) needs action but stops nothing now, and leaves the status at 0; \"overall\" of --json\ndistinguishes them."
    )]
    Check(CheckArgs),
    /// Show the settings and their origins, check them without servers, or print their schema
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the state of a running daemon
    #[command(
        after_help = "Connects to ops.listen with ops.token, from the daemon's own settings, or to --url. The exit status\nis 0 if the daemon is ready, 3 if it is not, and 1 if it does not answer."
    )]
    Status(StatusArgs),
    /// Watch a running daemon in the terminal
    #[command(
        after_help = "Reads the same state as `risksignal status`, each second. q or Ctrl-C ends it."
    )]
    Top(TopArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

impl Command {
    /// Returns true for a command that runs until a signal; its lines are for a collector.
    pub fn is_daemon(&self) -> bool {
        match self {
            Self::Run(_) => true,
            Self::Serve(args) => args.command.is_none(),
            _ => false,
        }
    }

    /// Returns true if a faulty configuration is reported as a JSON document too.
    pub fn reports_faults_as_json(&self) -> bool {
        match self {
            Self::Check(args) => args.json,
            Self::Config(ConfigCommand::Check { json }) => *json,
            _ => false,
        }
    }
}

/// Arguments of `risksignal check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print one JSON document: overall, exit_status, and findings with area, state (ok, warning,
    /// fault), code, text and remedy
    #[arg(long)]
    pub json: bool,
}

/// A daemon that a command asks.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Address of the daemon's ops listener, such as http://10.0.0.5:9464 [default: from ops.listen
    /// and ops.cert_file]
    #[arg(long, value_name = "URL", value_parser = daemon_url)]
    pub url: Option<String>,
}

fn daemon_url(url: &str) -> Result<String, String> {
    let url = web_url(url, "http://10.0.0.5:9464 or https://host:9464")?;
    Ok(url.trim_end_matches('/').to_owned())
}

/// Arguments of `risksignal status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print the response of /statusz
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub daemon: DaemonArgs,
}

/// Arguments of `risksignal top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    #[allow(missing_docs)] // clap would show it.
    pub daemon: DaemonArgs,
}

/// Arguments of `risksignal run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Leave the ClickHouse schema unchanged, regardless of clickhouse.migrate
    #[arg(long)]
    pub no_migrate: bool,

    /// Point at which a test stops the process, such as insert-answered:3.
    #[cfg(feature = "fault-points")]
    #[arg(long, hide = true)]
    pub fault_point: Option<FaultPoints>,
}

impl RunArgs {
    /// Returns the points at which a test stops the process; none outside of tests.
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

    /// Skip the confirmation
    #[arg(long)]
    pub yes: bool,

    /// Print one JSON object: stream, first_seq and last_seq of the messages in doubt
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `risksignal migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Print the statements with their costs, and run none
    #[arg(long)]
    pub dry_run: bool,

    /// Print one JSON object: the size of the table and the steps with --dry-run, otherwise
    /// applied, changed and newer_version
    #[arg(long)]
    pub json: bool,
}
