//! The `risksignal` command: startup sequence and exit status, without decisions.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use anyhow::{Context as _, Error, Result};
use risksignal::claiming::LogReplaced;
use risksignal::cli::{Cli, Command};
use risksignal::command::config::ConfigCommand;
use risksignal::command::log_lines::RETIRED_SETTING;
use risksignal::command::message_size::MessageSizeChanged;
use risksignal::command::serve::{ServeArgs, ServeCommand};
use risksignal::command::{exit, output};
use risksignal::reload::Reload;
use risksignal::settings::Settings;
use risksignal::{command, shutdown};
use telemetry::log::{self, Logger};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    allocator::configure();
    let cli = Cli::from_arguments();
    cli.color.apply();
    if let Some(done) = without_settings(&cli.command) {
        return done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    }
    let settings = match Settings::load(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(faults) => {
            output::note(format_args!(
                "error: the configuration has faults:\n{faults}"
            ));
            if cli.command.reports_faults_as_json() {
                command::check::faulty_settings(&faults);
            }
            return ExitCode::from(exit::CONFIG);
        }
    };
    let logger = match cli.command.is_daemon() {
        true => Logger::Daemon,
        false => Logger::OneShot,
    };
    let filter = match log::init(&settings.log, logger, console::colors_enabled_stderr()) {
        Ok(filter) => filter,
        Err(error) => {
            output::note(format_args!("error: {error}"));
            return ExitCode::from(exit::CONFIG);
        }
    };
    for setting in settings.retired() {
        warn!(setting, "{RETIRED_SETTING}");
    }
    end_on_panic();
    // async-nats uses the process's provider. Fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reload = Reload {
        file: cli.config,
        filter,
    };
    match start(cli.command, settings, reload) {
        Ok(code) => code,
        Err(error) if logger == Logger::OneShot => failed(&error),
        Err(error) => {
            error!(error = format!("{error:#}"), "Failed");
            if error.is::<LogReplaced>() || error.is::<MessageSizeChanged>() {
                return ExitCode::from(exit::AGAIN);
            }
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Runs a command that needs no settings, which may name the file that it writes.
fn without_settings(command: &Command) -> Option<Result<()>> {
    let done = match command {
        Command::Serve(ServeArgs {
            command: Some(ServeCommand::Token(args)),
        }) => return Some(command::serve::make_token(args)),
        Command::Completions(args) => command::manual::completions(args, Cli::definition()),
        Command::Man(args) => command::manual::write_pages(args, Cli::definition()),
        Command::Config(ConfigCommand::Schema) => command::config::schema(),
        _ => return None,
    };
    Some(done.map_err(Error::from))
}

/// Reports an error of a command that its user waits for, and returns its exit status. A reader of
/// the output that has seen enough, such as `head`, is no failure.
fn failed(error: &Error) -> ExitCode {
    if output::ended_early(error) {
        return ExitCode::SUCCESS;
    }
    output::report(error);
    ExitCode::from(exit::FAILED)
}

/// Ends the process on any panic. Tokio would only end the task: without the task of the NATS
/// connection, the process would look alive and do nothing. JetStream delivers unacked messages
/// again.
#[expect(
    clippy::disallowed_methods,
    reason = "a defect; what is left would look alive"
)]
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(exit::DEFECT.into());
    }));
}

#[tokio::main]
async fn start(command: Command, settings: Settings, reload: Reload) -> Result<ExitCode> {
    let shutdown = shutdown::on_signals().context("cannot listen for signals")?;
    let repeats = reload.filter.repeats().clone();
    tokio::spawn(repeats.clone().summarize());
    let ended = execute(command, settings, reload, shutdown).await;
    repeats.summary();
    ended.map(ExitCode::from)
}

/// Runs a command, and returns its exit status.
async fn execute(
    command: Command,
    settings: Settings,
    reload: Reload,
    shutdown: CancellationToken,
) -> Result<u8> {
    match command {
        Command::Run(args) => command::run::run(&args, settings, reload, shutdown).await?,
        Command::Serve(_) => command::serve::serve(settings, reload, shutdown).await?,
        Command::Produce(args) => {
            command::produce::produce(&args, &settings, shutdown).await?;
        }
        Command::Tap(args) => command::tap::tap(&args, &settings, shutdown).await?,
        Command::DeadLetters(args) => {
            command::dead_letters::dead_letters(&args, &settings, shutdown).await?;
        }
        Command::Schema(schema) => return command::schema::schema(&schema, &settings),
        Command::Cache(cache) => command::cache::cache(&cache, &settings, shutdown).await?,
        Command::Reingest(args) => command::reingest::reingest(&args, &settings).await?,
        Command::Migrate(args) => command::migrate::migrate(&args, &settings).await?,
        Command::Check(args) => return Ok(command::check::check(args.json, &settings).await),
        Command::Config(ConfigCommand::Show { json, changed }) => {
            command::config::show(&settings, json, changed)?;
        }
        Command::Config(ConfigCommand::Check { json }) => {
            return Ok(command::check::sound_settings(json, &settings));
        }
        Command::Status(args) => return command::status::status(&args, &settings).await,
        Command::Top(args) => command::top::top(&args, &settings, shutdown).await?,
        // Done without settings.
        Command::Config(ConfigCommand::Schema) | Command::Completions(_) | Command::Man(_) => {}
    }
    Ok(0)
}
