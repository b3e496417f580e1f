//! Output of the commands: standard output for results, standard error for people, and colors.
//!
//! A reader that is gone, such as `head`, stops output, not work, and is no error.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, BufRead, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

use clap::ValueEnum;
use console::Term;
use serde::Serialize;

/// Width of a terminal that does not report one.
const COLUMNS: u16 = 120;

/// Use of color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

impl Color {
    /// Applies the choice to all output of the process. `Auto` keeps the rule of the crate console:
    /// on a terminal unless NO_COLOR is set, CLICOLOR is 0 or TERM is dumb; CLICOLOR_FORCE
    /// overrides all of them.
    pub fn apply(self) {
        let is_colored = match self {
            Self::Auto => return,
            Self::Always => true,
            Self::Never => false,
        };
        console::set_colors_enabled(is_colored);
        console::set_colors_enabled_stderr(is_colored);
        crossterm::style::force_color_output(is_colored);
    }
}

/// Marks an error of standard output whose reader is gone.
#[derive(Debug)]
struct ReaderGone;

impl Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output is gone")
    }
}

impl Error for ReaderGone {}

/// Buffered standard output, for lists and documents. Its error ends the command: [`ended_early`].
pub struct StandardOutput(BufWriter<StdoutLock<'static>>);

/// Returns standard output, for a list or a document.
pub fn standard() -> StandardOutput {
    StandardOutput(BufWriter::new(io::stdout().lock()))
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => io::Error::new(ErrorKind::BrokenPipe, ReaderGone),
        kind => io::Error::new(kind, format!("cannot write to standard output: {error}")),
    }
}

/// Reports whether a command ended since the reader of standard output was gone, and not a server.
pub fn ended_early(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let inner = cause.downcast_ref().and_then(io::Error::get_ref);
        inner.is_some_and(|inner| inner.is::<ReaderGone>())
    })
}

/// Prints the lines of a result. A reader that is gone is no error, since the work goes on.
///
/// # Errors
/// Fails when standard output cannot be written for another reason.
pub fn print(lines: impl Display) -> io::Result<()> {
    let mut out = standard();
    match writeln!(out, "{lines}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints one JSON document, indented, with the rules of [`print()`].
///
/// # Errors
/// Fails when standard output cannot be written, or a value has no JSON form.
pub fn print_json(document: &impl Serialize) -> io::Result<()> {
    print(serde_json::to_string_pretty(document)?)
}

/// Prints lines to standard error, for people. Nothing can report a failure there.
pub fn note(lines: impl Display) {
    let _ = writeln!(io::stderr(), "{lines}");
}

/// Reports why the command failed: the error, and a line for each cause that it does not quote.
pub fn report(error: &anyhow::Error) {
    note(format_args!("error: {}", with_causes(error)));
}

fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += &format!("\n  caused by: {cause}");
        }
    }
    text
}

/// Asks the user a question, if there is one; `None` means that there is no terminal.
///
/// # Errors
/// Fails when the terminal cannot be read.
pub fn confirmed(question: impl Display) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(Some(["y", "yes"].contains(&answer.as_str())))
}

/// Reports whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of the terminal; `None` for other output, whose lines may have any length.
pub fn columns() -> Option<usize> {
    if !is_terminal() {
        return None;
    }
    let size = Term::stdout().size_checked();
    Some(usize::from(size.map_or(COLUMNS, |(_, columns)| columns)))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_a_broken_pipe_of_standard_output_ends_early() {
        let gone = || marked(io::Error::from(ErrorKind::BrokenPipe));
        let wrapped = Err::<(), _>(gone()).context("cannot list").unwrap_err();
        assert!(ended_early(&wrapped));
        let through_json: io::Error = serde_json::Error::io(gone()).into();
        assert!(ended_early(&through_json.into()));
        for other in [
            io::Error::from(ErrorKind::BrokenPipe),
            marked(io::Error::from(ErrorKind::StorageFull)),
        ] {
            assert!(!ended_early(&other.into()));
        }
    }

    #[test]
    fn a_cause_is_printed_once() {
        let inner = io::Error::other("the disk is full");
        let quoting = anyhow::Error::new(inner).context("cannot write x: the disk is full");
        assert_eq!(with_causes(&quoting), "cannot write x: the disk is full");
        let silent = anyhow::Error::new(io::Error::other("it is away")).context("no cache");
        assert_eq!(with_causes(&silent), "no cache\n  caused by: it is away");
    }
}
