//! Examples of each command, for `--help`, the manual and the reference page.

use clap::Command;

/// Heading of the examples in `--help`.
pub const HEADING: &str = "Examples:";

/// Examples by the path of their command. A test parses each one, up to a pipe or a redirection.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "risksignal",
        &[
            "risksignal check && risksignal run",
            "risksignal produce --count 1000 --rate 100",
            "risksignal status --json | jq .health",
        ],
    ),
    (
        "risksignal run",
        &[
            "risksignal run",
            "risksignal run --config /etc/risksignal/risksignal.toml --no-migrate",
        ],
    ),
    (
        "risksignal serve",
        &[
            "risksignal serve token my-app >> tokens.toml",
            "risksignal serve --config serve.toml",
        ],
    ),
    (
        "risksignal serve token",
        &[
            "risksignal serve token my-app >> tokens.toml",
            "risksignal serve token dashboard --scope read --rate 50 >> tokens.toml",
        ],
    ),
    (
        "risksignal produce",
        &[
            "risksignal produce --count 1000000 --rate 5000 --invalid 1",
            "risksignal produce --kind risk_event --seed 7 --json",
            "zcat signals.jsonl.gz | risksignal produce --file -",
        ],
    ),
    (
        "risksignal tap",
        &[
            "risksignal tap --type transaction --severity 4-",
            "risksignal tap --wallet 0xabc --since 1h --json | jq .payload",
        ],
    ),
    (
        "risksignal dead-letters",
        &[
            "risksignal dead-letters list --since 1h",
            "risksignal dead-letters show 12",
            "risksignal dead-letters replay --reason refused_by_clickhouse",
        ],
    ),
    (
        "risksignal dead-letters list",
        &[
            "risksignal dead-letters list --reason not_json,too_large --since 2h",
            "risksignal dead-letters list --subject 'signals.>' --json | jq .error",
            "risksignal dead-letters list --summary",
            "risksignal dead-letters list --newest 10 --follow",
        ],
    ),
    (
        "risksignal dead-letters show",
        &[
            "risksignal dead-letters show 12",
            "risksignal dead-letters show 12 --raw > body.json",
        ],
    ),
    (
        "risksignal dead-letters replay",
        &[
            "risksignal dead-letters replay --seq 5-9 --dry-run",
            "risksignal dead-letters replay --all --rate 100",
        ],
    ),
    (
        "risksignal dead-letters purge",
        &[
            "risksignal dead-letters purge --reason not_json --dry-run",
            "risksignal dead-letters purge --until 30days --yes",
        ],
    ),
    (
        "risksignal dead-letters export",
        &[
            "risksignal dead-letters export letters.jsonl --since 24h",
            "risksignal dead-letters export | jq -r .body",
        ],
    ),
    (
        "risksignal schema",
        &[
            "risksignal schema list",
            "risksignal schema check signals.jsonl",
        ],
    ),
    ("risksignal schema list", &["risksignal schema list --json"]),
    (
        "risksignal schema export",
        &[
            "risksignal schema export --dir schemas",
            "risksignal schema export --typescript > signals.ts",
        ],
    ),
    (
        "risksignal schema check",
        &[
            "risksignal schema check signals.jsonl",
            "tail -n 100 signals.jsonl | risksignal schema check - --subject signals.transaction",
        ],
    ),
    ("risksignal cache", &["risksignal cache rebuild"]),
    (
        "risksignal cache rebuild",
        &["risksignal cache rebuild --json"],
    ),
    (
        "risksignal reingest",
        &[
            "risksignal reingest --from 120000",
            "risksignal reingest --from 120000 --to 180000 --yes",
        ],
    ),
    (
        "risksignal migrate",
        &[
            "risksignal migrate --dry-run",
            "risksignal migrate --dry-run --json | jq -r '.steps[].statements[].sql'",
            "risksignal migrate",
        ],
    ),
    (
        "risksignal check",
        &[
            "risksignal check",
            "risksignal check --json | jq '.findings[] | select(.state != \"ok\")'",
        ],
    ),
    (
        "risksignal config",
        &[
            "risksignal config check --config risksignal.toml",
            "risksignal config show --changed",
        ],
    ),
    (
        "risksignal config show",
        &[
            "risksignal config show --changed",
            "risksignal config show --json | jq -r '.[\"batch.max_rows\"].value'",
        ],
    ),
    (
        "risksignal config check",
        &[
            "risksignal config check --config risksignal.toml",
            "risksignal config check --json | jq -r '.findings[].text'",
        ],
    ),
    (
        "risksignal config schema",
        &["risksignal config schema > risksignal.schema.json"],
    ),
    (
        "risksignal status",
        &[
            "risksignal status",
            "risksignal status --url http://10.0.0.5:9464 --json | jq .health",
        ],
    ),
    (
        "risksignal top",
        &[
            "risksignal top",
            "risksignal top --url https://ingest.internal:9464",
        ],
    ),
    (
        "risksignal completions",
        &[
            "risksignal completions bash > /etc/bash_completion.d/risksignal",
            "risksignal completions zsh > ~/.zfunc/_risksignal",
            "risksignal completions fish > ~/.config/fish/completions/risksignal.fish",
        ],
    ),
    (
        "risksignal man",
        &["risksignal man /usr/local/share/man/man1"],
    ),
];

/// Returns the examples of a built command, if it has some.
pub fn of(command: &Command) -> Option<&'static [&'static str]> {
    let path = command.get_bin_name().unwrap_or(command.get_name());
    at(path)
}

fn at(path: &str) -> Option<&'static [&'static str]> {
    let mut examples = EXAMPLES.iter();
    Some(examples.find(|(command, _)| *command == path)?.1)
}

/// Adds its examples to the help of a command and of each command below it.
pub fn add(command: Command) -> Command {
    let path = command.get_name().to_owned();
    add_at(command, &path)
}

fn add_at(command: Command, path: &str) -> Command {
    let command = command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        add_at(below, &path)
    });
    let Some(examples) = at(path) else {
        return command;
    };
    let notes = command.get_after_help().map(|notes| format!("{notes}\n\n"));
    let notes = notes.unwrap_or_default();
    let lines = examples.join("\n  ");
    command.after_help(format!("{notes}{HEADING}\n  {lines}"))
}
