//! The `risksignal` command: sequence and exit status; it decides nothing.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use risksignal::claiming::Lost;
use risksignal::cli::{Cli, Command};
use risksignal::command::run::MessageSizeChanged;
use risksignal::reload::Reload;
use risksignal::settings::Settings;
use risksignal::{command, shutdown, telemetry};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Each message is half a dozen allocations, which glibc's malloc takes a fifth of the CPU for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// EX_CONFIG of sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// EX_TEMPFAIL of sysexits.h: the next process goes on, with another claims log or message size.
const EXIT_AGAIN: u8 = 75;
/// EX_SOFTWARE of sysexits.h.
const EXIT_DEFECT: i32 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(args) = cli.command.token() {
        return match command::serve::make_token(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("risksignal: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let settings = match Settings::load(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("risksignal: the configuration has faults:\n{faults}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let filter = match telemetry::log::init(&settings.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("risksignal: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    end_on_panic();
    // async-nats asks for the process's; fails only where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reload = Reload {
        file: cli.config,
        filter,
    };
    match start(cli.command, settings, reload) {
        Ok(code) => code,
        Err(error) => {
            error!(error = format!("{error:#}"), "Failed");
            if error.is::<Lost>() || error.is::<MessageSizeChanged>() {
                return ExitCode::from(EXIT_AGAIN);
            }
            ExitCode::FAILURE
        }
    }
}

/// Has any panic end the process. Tokio would only end the task: when that is the one of the
/// connection to NATS, what is left looks alive and does nothing. What was not acked is
/// delivered again.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::exit(EXIT_DEFECT);
    }));
}

#[tokio::main]
async fn start(command: Command, settings: Settings, reload: Reload) -> Result<ExitCode> {
    let shutdown = shutdown::on_signals().context("cannot listen for signals")?;
    let repeats = reload.filter.repeats().clone();
    tokio::spawn(repeats.clone().summarize());
    let ended = execute(command, settings, reload, shutdown).await;
    repeats.summary();
    ended
}

async fn execute(
    command: Command,
    settings: Settings,
    reload: Reload,
    shutdown: CancellationToken,
) -> Result<ExitCode> {
    match command {
        Command::Run(args) => command::run::run(&args, settings, reload, shutdown).await?,
        Command::Serve(_) => command::serve::serve(settings, reload, shutdown).await?,
        Command::Produce(args) => {
            command::produce::produce(&args, &settings, shutdown).await?;
        }
        Command::DeadLetters(args) => {
            command::dead_letters::dead_letters(&args, &settings, shutdown).await?;
        }
        Command::Schema(schema) => {
            return Ok(ExitCode::from(command::schema::schema(&schema, &settings)?));
        }
        Command::Cache(cache) => command::cache::cache(&cache, &settings, shutdown).await?,
        Command::Reingest(args) => command::reingest::reingest(&args, &settings).await?,
        Command::Migrate(args) => command::migrate::migrate(&args, &settings).await?,
        Command::Check => return Ok(ExitCode::from(command::check::check(&settings).await)),
        Command::Status(args) => {
            let code = command::status::status(&args, &settings).await?;
            return Ok(ExitCode::from(code));
        }
        Command::Top => command::top::top(&settings, shutdown).await?,
    }
    Ok(ExitCode::SUCCESS)
}
