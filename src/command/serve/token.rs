//! `risksignal serve token`: a token, and its entry with the hash for the tokens file.

use std::io::Write as _;
use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use crate::command::output;

/// Random bytes in a token: as many as in its hash.
const BYTES: usize = 32;

/// Arguments of `risksignal serve token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Name of its owner, such as the application's name
    name: String,

    /// Purpose of the token
    #[arg(long = "scope", value_name = "SCOPE", default_value = "ingest")]
    scopes: Vec<ScopeArg>,

    /// Event type that it may send; without one, all types
    #[arg(long = "event-type", value_name = "TYPE")]
    event_types: Vec<String>,

    /// Signals per second; without it, any number
    #[arg(long)]
    rate: Option<NonZeroU32>,

    /// Signals at once after a pause [default: as many as --rate]
    #[arg(long, requires = "rate")]
    burst: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeArg {
    /// Send signals
    Ingest,
    /// Read signals and wallets
    Read,
}

impl From<ScopeArg> for crate::serve::tokens::Scope {
    fn from(arg: ScopeArg) -> Self {
        match arg {
            ScopeArg::Ingest => Self::Ingest,
            ScopeArg::Read => Self::Read,
        }
    }
}

/// Creates a token, and prints it and its entry.
///
/// # Errors
/// Fails when the name is invalid, or the output cannot be written.
pub fn make(args: &TokenArgs) -> Result<()> {
    let token = format!(
        "rs_{}",
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
    );
    let entry = entry(args, &token)?;
    crate::serve::tokens::check(&entry).map_err(anyhow::Error::msg)?;
    let name = &args.name;
    output::note(format_args!(
        "The token of {name}, which is shown only once:\n{token}"
    ));
    let mut out = output::standard();
    let written = out.write_all(entry.as_bytes()).and_then(|()| out.flush());
    written.context("cannot write the entry")
}

fn entry(args: &TokenArgs, token: &str) -> Result<String> {
    // JSON texts and lists of texts are valid TOML too.
    let scopes = args
        .scopes
        .iter()
        .map(|scope| crate::serve::tokens::Scope::from(*scope).name());
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
