use clap::FromArgMatches as _;

use crate::command::examples;
use crate::command::manual::with_subcommands;

use super::*;

/// Splits an example into the words of its `risksignal` commands, up to a pipe or a redirection.
fn commands(example: &str) -> Vec<Vec<&str>> {
    let words: Vec<&str> = example.split(' ').collect();
    let parts = words.split(|word| ["|", ">", ">>", "&&"].contains(word));
    let own = parts.filter(|part| part.first() == Some(&"risksignal"));
    own.map(|part| part.iter().map(|word| word.trim_matches('\'')).collect())
        .collect()
}

#[test]
fn the_definition_is_consistent() {
    Cli::definition().debug_assert();
}

#[test]
fn every_command_has_examples_in_its_help_that_parse() {
    let mut program = Cli::definition();
    program.build();
    for command in with_subcommands(&program) {
        let path = command.get_bin_name().unwrap_or(command.get_name());
        let examples = examples::of(command);
        let examples = examples.unwrap_or_else(|| panic!("{path} has no example"));
        let help = command.clone().render_long_help().to_string();
        let mut own = 0;
        for example in examples {
            assert!(help.contains(example), "{path}: {example}");
            for words in commands(example) {
                own += usize::from(words.join(" ").starts_with(path));
                let matches = Cli::definition().try_get_matches_from(&words);
                let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
                Cli::from_arg_matches(&matches).unwrap();
            }
        }
        assert!(own > 0, "{path} has no example of its own");
    }
}

#[test]
fn the_version_names_the_target() {
    let program = Cli::definition();
    let long = program.get_long_version().unwrap();
    let version = concat!(env!("CARGO_PKG_VERSION"), " (");
    assert!(long.starts_with(version), "{long}");
    assert!(long.contains(std::env::consts::ARCH), "{long}");
}

#[test]
fn a_daemon_url_has_no_login_and_no_slash_at_its_end() {
    assert_eq!(daemon_url("http://h:9464/"), Ok("http://h:9464".to_owned()));
    for url in ["h:9464", "ftp://h", "http://user:hunter2@h:9464"] {
        let fault = daemon_url(url).unwrap_err();
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
