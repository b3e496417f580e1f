//! `risksignal completions` and `risksignal man`: files for shells and for man(1), from the command
//! line's own definition.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::command::{examples, exit, output};

const PROGRAM: &str = "risksignal";

/// Arguments of `risksignal completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `risksignal man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write to, which is created if it is absent
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Prints the completions of a shell.
///
/// # Errors
/// Fails when the output cannot be written.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> io::Result<()> {
    // The generator panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, PROGRAM, &mut script);
    let mut out = output::standard();
    out.write_all(&script)?;
    out.flush()
}

/// Writes a manual page for the program and for each of its commands.
///
/// # Errors
/// Fails when the folder or a file cannot be written.
pub fn write_pages(args: &ManArgs, mut program: Command) -> io::Result<()> {
    let failed = |path: &Path, error: io::Error| {
        let text = format!("cannot write {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    std::fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    program.build();
    for command in with_subcommands(&program) {
        let name = command.get_display_name().unwrap_or(PROGRAM);
        let path = args.dir.join(format!("{name}.1"));
        let text = render(command)?;
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Lists a command and all commands below it that `--help` lists.
pub fn with_subcommands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|below| is_listed(below));
    let below = below.flat_map(with_subcommands);
    std::iter::once(command).chain(below).collect()
}

/// Reports whether `--help` lists a command. clap adds `help` to each command with subcommands.
fn is_listed(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// Renders a page. clap's own order has notes and examples in a section EXTRA.
fn render(command: &Command) -> io::Result<Vec<u8>> {
    let page = Man::new(command.clone()).source(concat!("risksignal ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.get_subcommands().any(is_listed) {
        page.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    if let Some(notes) = notes(command) {
        rest.control("SH", ["NOTES"]);
        rest.text([roman(notes)]);
    }
    if let Some(examples) = examples::of(command) {
        rest.control("SH", ["EXAMPLES"]);
        rest.control("nf", []);
        for example in examples {
            rest.text([roman(*example)]);
        }
        rest.control("fi", []);
    }
    if command.get_name() == PROGRAM {
        rest.control("SH", ["EXIT STATUS"]);
        for (status, meaning) in exit::MEANINGS {
            rest.control("TP", []);
            rest.text([bold(status.to_string())]);
            rest.text([roman(meaning.replace('`', ""))]);
        }
    }
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// Returns the text after the options of `--help`, as one paragraph.
pub fn notes(command: &Command) -> Option<String> {
    let notes = command.get_after_help()?.to_string();
    let (notes, _) = notes.split_once(examples::HEADING).unwrap_or((&notes, ""));
    let notes = notes.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(notes).filter(|notes| !notes.is_empty())
}
