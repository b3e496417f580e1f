//! `risksignal serve token`: a token, and the entry of the file that knows it by its hash.

use std::io::{self, Write as _};
use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use crate::settings;

/// Bytes of chance in a token: as many as its hash has.
const BYTES: usize = 32;

/// Arguments of `risksignal serve token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Whose it is, such as the application's name
    name: String,

    /// What it is for
    #[arg(long = "scope", value_name = "SCOPE", default_value = "ingest")]
    scopes: Vec<ScopeArg>,

    /// A type of signals that it may send; without one, all
    #[arg(long = "event-type", value_name = "TYPE")]
    event_types: Vec<String>,

    /// Signals a second; without it, any number
    #[arg(long)]
    rate: Option<NonZeroU32>,

    /// Signals at once, after a pause [default: as many as --rate]
    #[arg(long, requires = "rate")]
    burst: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeArg {
    /// To send signals
    Ingest,
    /// To read back what came of them
    Read,
}

impl From<ScopeArg> for settings::Scope {
    fn from(arg: ScopeArg) -> Self {
        match arg {
            ScopeArg::Ingest => Self::Ingest,
            ScopeArg::Read => Self::Read,
        }
    }
}

/// Makes a token, and prints it and its entry.
///
/// # Errors
/// When the name cannot be one, or nobody takes the output.
pub fn make(args: &TokenArgs) -> Result<()> {
    let token = format!(
        "rs_{}",
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
    );
    let entry = entry(args, &token)?;
    settings::check_tokens(&entry).map_err(anyhow::Error::msg)?;
    writeln!(
        io::stderr(),
        "The token of {}, which nothing keeps and tells again:\n{token}",
        args.name
    )?;
    io::stdout()
        .write_all(entry.as_bytes())
        .context("cannot write the entry")
}

fn entry(args: &TokenArgs, token: &str) -> Result<String> {
    // What JSON writes of texts and lists of them is TOML too.
    let scopes = args
        .scopes
        .iter()
        .map(|scope| settings::Scope::from(*scope).name());
    let mut entry = format!(
        "\n[[token]]\nname = {}\nsha256 = \"{:x}\"\nscopes = {}\n",
        serde_json::to_string(&args.name)?,
        Sha256::digest(token),
        serde_json::to_string(&scopes.collect::<Vec<_>>())?,
    );
    if !args.event_types.is_empty() {
        let types = serde_json::to_string(&args.event_types)?;
        entry += &format!("event_types = {types}\n");
    }
    for (key, value) in [("rate", args.rate), ("burst", args.burst)] {
        if let Some(value) = value {
            entry += &format!("{key} = {value}\n");
        }
    }
    Ok(entry)
}
