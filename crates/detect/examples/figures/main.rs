//! Prints the figures of docs/internals/detection.md, from the data in `../shared/data`.
//!
//! ```sh
//! cargo run --release -p risksignal-detect --example figures -- payments
//! ```

mod cost;
mod nab;
mod payments;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "figures payments|nab|cost [--data FOLDER] [NAME=VALUE]...";

/// Arguments: the figure, the folder of the data, and parameters to try.
struct Arguments {
    figure: String,
    data: PathBuf,
    changes: Vec<(String, f64)>,
}

impl Arguments {
    fn read() -> Result<Self, Failure> {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut arguments = Self {
            figure: String::new(),
            data: manifest.join("../../../shared/data"),
            changes: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--data" {
                arguments.data = words.next().ok_or(USAGE)?.into();
            } else if let Some((name, value)) = word.split_once('=') {
                arguments.changes.push((name.to_owned(), value.parse()?));
            } else {
                arguments.figure = word;
            }
        }
        Ok(arguments)
    }
}

fn main() -> Result<ExitCode, Failure> {
    let arguments = Arguments::read()?;
    let folder = arguments.data.as_path();
    if arguments.figure == "cost" {
        let wallets = arguments.changes.iter().find(|(name, _)| name == "wallets");
        cost::print(wallets.map(|(_, wallets)| *wallets))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !folder.exists() {
        println!("skipped: there is no {}", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.figure.as_str() {
        "payments" => payments::print(&folder.join("payments"), &arguments.changes)?,
        "nab" => {
            let has = |name| arguments.changes.iter().any(|(one, _)| one == name);
            nab::print(&folder.join("nab"), has("detail"), !has("tuning"))?;
        }
        _ => {
            println!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
