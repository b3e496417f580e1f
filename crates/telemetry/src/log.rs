//! Log lines to standard error: pretty or plain for people, JSON for machines.

use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, Registry};

use crate::options::{LogFormat, LogOptions};

use super::repeats::Repeats;

/// Reasons for which there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// The process logs already.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
    /// The subscriber is gone.
    #[error("the log's filter cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

/// The filter of log lines, which may change.
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    repeats: Repeats,
}

impl LogFilter {
    /// Logs by this filter and these bounds from now on.
    ///
    /// # Errors
    /// When the filter is malformed; then the one before stays.
    pub fn set(&self, log: &LogOptions) -> Result<(), LogError> {
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

/// Kind of process that logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logger {
    /// A daemon, whose lines a collector or a terminal takes.
    Daemon,
    /// A command that ends soon, whose lines its user reads: plain, unless a format is set.
    OneShot,
}

/// Look of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Pretty,
    Plain,
    Json,
}

impl Look {
    fn of(format: LogFormat, logger: Logger) -> Self {
        match (format, logger) {
            (LogFormat::Auto, Logger::OneShot) => Self::Plain,
            (LogFormat::Auto, Logger::Daemon) if io::stderr().is_terminal() => Self::Pretty,
            (LogFormat::Auto | LogFormat::Json, _) => Self::Json,
            (LogFormat::Pretty, _) => Self::Pretty,
        }
    }
}

/// Lines without time and target, such as `warning: Signal not accepted reason="too large"`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        })?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is malformed, or the process logs already.
pub fn init(log: &LogOptions, logger: Logger, colors: bool) -> Result<LogFilter, LogError> {
    let (filter, handle) = reload::Layer::new(parsed(&log.filter)?);
    let repeats = Repeats::new(log);
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(repeats.clone());
    match Look::of(log.format, logger) {
        Look::Pretty => {
            let lines = fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(colors)
                .with_target(false);
            registry.with(lines).try_init()?;
        }
        Look::Plain => {
            let lines = fmt::layer()
                .event_format(Plain)
                .with_writer(io::stderr)
                .with_ansi(false);
            registry.with(lines).try_init()?;
        }
        Look::Json => {
            // Fields at the top level, as log collectors expect them.
            let lines = fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(io::stderr);
            registry.with(lines).try_init()?;
        }
    }
    Ok(LogFilter { handle, repeats })
}
