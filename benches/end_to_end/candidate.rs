//! Programs to compare: daemons with settings, and others.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A consumer that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name in the table.
    pub label: String,
    pub program: PathBuf,
    /// The program that makes its table; `None` for a competitor.
    pub risksignal: Option<PathBuf>,
    pub arguments: Vec<String>,
    /// On top of the environment that says where the servers are.
    pub environment: Vec<(String, String)>,
}

/// Daemons as `[label=]path`, each with its absolute path.
pub fn daemons(texts: &[String], label: &str) -> Result<Vec<(String, PathBuf)>> {
    let split = |text: &String| {
        let (label, path) = text.split_once('=').unwrap_or((label, text));
        let path = std::path::absolute(Path::new(path)).context(path.to_owned())?;
        Ok((label.to_owned(), path))
    };
    texts.iter().map(split).collect()
}

/// Every daemon as it is, and with the settings of every comparison.
pub fn variants(
    daemons: &[(String, PathBuf)],
    common: &[String],
    compare: &[String],
) -> Result<Vec<Candidate>> {
    let common = settings(common.iter().map(String::as_str))?;
    let mut candidates = Vec::new();
    for (label, path) in daemons {
        let plain = Candidate {
            label: label.clone(),
            program: path.clone(),
            risksignal: Some(path.clone()),
            arguments: vec!["run".to_owned()],
            environment: common.clone(),
        };
        candidates.push(plain.clone());
        for text in compare {
            let (name, list) = text
                .split_once(':')
                .with_context(|| format!("--compare {text}: it has to be label:KEY=VALUE,…"))?;
            let mut variant = plain.clone();
            variant.label = match daemons.len() {
                1 => name.to_owned(),
                _ => format!("{label} {name}"),
            };
            variant.environment.extend(settings(list.split(','))?);
            candidates.push(variant);
        }
    }
    Ok(candidates)
}

/// Another consumer, as `label:command`.
#[expect(clippy::disallowed_methods, reason = "a shell needs its PATH")]
pub fn competitor(text: &str) -> Result<Candidate> {
    let (label, command) = text
        .split_once(':')
        .with_context(|| format!("--competitor {text}: it has to be label:command"))?;
    Ok(Candidate {
        label: label.to_owned(),
        program: PathBuf::from("/bin/sh"),
        risksignal: None,
        // The shell makes way, so that signals reach the program.
        arguments: vec!["-c".to_owned(), format!("exec {}", command.trim())],
        environment: std::env::vars().filter(|(key, _)| key == "PATH").collect(),
    })
}

fn settings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>> {
    texts.map(setting).collect()
}

/// `batch.max_rows=5` or an environment variable.
pub fn setting(text: &str) -> Result<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("{text}: it has to be KEY=VALUE"))?;
    let variable = if key.contains('.') {
        format!(
            "RISKSIGNAL__{}",
            key.to_ascii_uppercase().replace('.', "__")
        )
    } else {
        key.to_owned()
    };
    Ok((variable, value.to_owned()))
}
