//! Log lines to standard error: pretty for people, JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;

use crate::settings::{Log, LogFormat};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process logs already.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is malformed, or the process logs already.
pub fn init(log: &Log) -> Result<(), LogError> {
    let terminal = io::stderr().is_terminal();
    let pretty = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    if pretty {
        let lines = fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(terminal)
            .with_target(false);
        registry.with(lines).try_init()?;
    } else {
        // Fields at the top level, as log collectors expect them.
        let lines = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(io::stderr);
        registry.with(lines).try_init()?;
    }
    Ok(())
}
