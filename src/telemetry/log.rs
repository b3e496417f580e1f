//! Log lines to standard error: pretty for people, JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, Registry};

use crate::settings::{Log, LogFormat};

use super::repeats::Repeats;

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// The process logs already.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
    /// What logs is gone.
    #[error("the log's filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// Which lines are logged, which may change.
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    repeats: Repeats,
}

impl LogFilter {
    /// Logs by this filter and these bounds from now on.
    ///
    /// # Errors
    /// When the filter is malformed; then the one before stays.
    pub fn set(&self, log: &Log) -> Result<(), LogError> {
        self.repeats.set_bounds(log);
        Ok(self.handle.reload(parsed(&log.filter)?)?)
    }

    /// The bound on lines that repeat.
    pub fn repeats(&self) -> &Repeats {
        &self.repeats
    }
}

fn parsed(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(filter)
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is malformed, or the process logs already.
pub fn init(log: &Log) -> Result<LogFilter, LogError> {
    let terminal = io::stderr().is_terminal();
    let pretty = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let (filter, handle) = reload::Layer::new(parsed(&log.filter)?);
    let repeats = Repeats::new(log);
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(repeats.clone());
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
    Ok(LogFilter { handle, repeats })
}
