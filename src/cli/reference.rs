//! Reference page of the commands, docs/commands.md, from the definition of the command line.

use clap::{Arg, Command};

use super::Cli;
use crate::command::manual::{notes, with_subcommands};
use crate::command::{examples, exit};
use crate::shipped::assert_shipped;

/// Pages that explain more.
const SEE: [(&str, &str); 8] = [
    ("risksignal serve", "[HTTP](http.md)"),
    ("risksignal dead-letters", "[Dead letters](dead-letters.md)"),
    ("risksignal schema", "[Contracts](contracts.md)"),
    ("risksignal cache", "[The cache](http.md#the-cache)"),
    (
        "risksignal reingest",
        "[Backup and restore](runbook.md#backup-and-restore)",
    ),
    ("risksignal config", "[Configuration](configuration.md)"),
    ("risksignal status", "[Monitoring](monitoring.md)"),
    ("risksignal check", "[Troubleshooting](troubleshooting.md)"),
];

const HEAD: &str = "# Commands

`risksignal COMMAND --help` prints the same, and `man risksignal-COMMAND` does after an installation from the package.
This page is generated from the code.

Results go to standard output, everything else to standard error. An error of a command that ends by itself is one of
plain words: `error: …`, its causes, and what helps. A reader that ends early, as `head` does, is no error. Colors are
for terminals; `NO_COLOR` or `--color never` turns them off, `CLICOLOR_FORCE=1` or `--color always` on everywhere.
";

fn page(program: &Command) -> String {
    let mut text = HEAD.to_owned();
    text += "\n| Command | Purpose |\n| --- | --- |\n";
    for command in program
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
    {
        let path = path(command);
        let anchor = path.replace(' ', "-");
        text += &format!("| [`{path}`](#{anchor}) | {} |\n", about(command));
    }
    text += "\n## Exit status\n\n| Status | Meaning |\n| ---: | --- |\n";
    for (status, meaning) in exit::MEANINGS {
        text += &format!("| {status} | {meaning} |\n");
    }
    let global = program.get_arguments().filter(|arg| arg.is_global_set());
    text += "\n## Options of every command\n\n";
    text += &table(global);
    for command in with_subcommands(program).into_iter().skip(1) {
        text += &section(command);
    }
    text
}

fn section(command: &Command) -> String {
    let path = path(command);
    // A command below another one has a smaller heading.
    let level = "#".repeat(path.split(' ').count());
    let mut text = format!("\n{level} {path}\n\n{}.", about(command));
    if let Some(notes) = notes(command) {
        text += &format!(" {}", escaped(&notes));
    }
    if let Some((_, page)) = SEE.iter().find(|(command, _)| *command == path) {
        text += &format!(" More: {page}.");
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim);
    let usage = usage.collect::<Vec<_>>().join("\n");
    text += &format!("\n\n```text\n{usage}\n```\n");
    let own = command.get_arguments().filter(|arg| {
        !arg.is_global_set()
            && !arg.is_hide_set()
            && !["help", "version"].contains(&arg.get_id().as_str())
    });
    let table = table(own);
    if !table.is_empty() {
        text += &format!("\n{table}");
    }
    if let Some(examples) = examples::of(command) {
        text += &format!("\n```sh\n{}\n```\n", examples.join("\n"));
    }
    text
}

/// Writes a table of arguments; empty without any.
fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments.map(row).collect();
    match rows.as_str() {
        "" => String::new(),
        rows => format!("| Argument | Meaning |\n| --- | --- |\n{rows}"),
    }
}

fn row(argument: &Arg) -> String {
    let mut names: Vec<String> = argument
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .collect();
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let value = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values());
    let value = value.map(|names| {
        names
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    });
    let shown = match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_default(),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
        (false, None) => names.join(", "),
    };
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut meaning = escaped(&help.split_whitespace().collect::<Vec<_>>().join(" "));
    let words: Vec<String> = argument
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !argument.is_hide_possible_values_set()
        && !words.is_empty()
        && argument.get_action().takes_values()
    {
        meaning += &format!(". One of {}", words.join(", "));
    }
    let default = argument.get_default_values().first();
    if let Some(default) = default.filter(|_| argument.get_action().takes_values()) {
        meaning += &format!(". Default: `{}`", default.to_string_lossy());
    }
    format!("| `{shown}` | {meaning} |\n")
}

fn path(command: &Command) -> String {
    command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    escaped(&about.unwrap_or_default())
}

/// Escapes characters that Markdown would take for itself.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "\\<")
        .replace('*', "\\*")
}

#[test]
fn the_reference_page_lists_every_command() {
    let mut program = Cli::definition().term_width(100);
    program.build();
    assert_shipped("docs/commands.md", &page(&program));
}
