//! The proof: nothing lost, nothing twice, whatever dies.
//!
//! Real servers and daemons, a publisher that no fault reaches, faults from outside at times
//! that a seed decides, and at the end an oracle that knows what every message was. `make
//! chaos` runs every case, `cargo test` a short one.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test stops at the first surprise.

mod arguments;
mod case;
mod http;
mod inject;
mod journal;
mod logs;
mod operators;
mod oracle;
mod plan;
mod proxy;
mod publisher;
mod quiet;
mod report;
mod row;
mod settings;
mod signals;
mod world;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::Parser;
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use case::{Case, Options};
use journal::Journal;
use publisher::Job;

/// Faults are injected for so long when the command line does not say.
const LENGTH: Duration = Duration::from_secs(180);
const LENGTH_OF_SHORT_RUN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("no runtime");
    // On the main thread, which the children's lives are tied to.
    let done = runtime.block_on(async {
        if let Some(servers) = arguments.publish_to.clone() {
            let job = Job {
                servers,
                seed: arguments.seed.unwrap_or_default(),
                count: arguments.count.unwrap_or_default(),
                rate: arguments.rate,
            };
            return publisher::publish(&job).await.map(|()| true);
        }
        if arguments.libtest.list {
            for case in arguments.cases() {
                println!("{}: test", case.name());
            }
            return Ok(true);
        }
        tokio::select! {
            passed = run_all(&arguments) => passed,
            () = stopped() => Err(anyhow!("stopped by a signal")),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// SIGINT or SIGTERM: ending the run in order leaves no process and no folder behind.
async fn stopped() {
    let mut terminate = signal(SignalKind::terminate()).expect("no signal handler");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs every case that is asked for; false when one has failed.
async fn run_all(arguments: &Arguments) -> Result<bool> {
    let length = match arguments.minutes {
        Some(minutes) => Duration::try_from_secs_f64(minutes * 60.0)?,
        None if arguments.all => LENGTH,
        None => LENGTH_OF_SHORT_RUN,
    };
    let options = Options {
        seed: arguments.seed.unwrap_or_else(new_seed),
        length,
        rate: arguments.rate.max(1),
        puts_back: arguments.put_back,
        daemon: arguments.daemon.clone(),
    };
    let cases = arguments.cases();
    let mut failed = 0;
    for case in &cases {
        if !run(*case, &options, arguments.keep).await? {
            failed += 1;
        }
    }
    println!("{} passed, {failed} failed", cases.len() - failed);
    Ok(failed == 0)
}

/// Runs one case and reports it; returns if it passed.
async fn run(case: Case, options: &Options, keep: bool) -> Result<bool> {
    let mut dir = tempfile::Builder::new().prefix("chaos-").tempdir()?;
    let journal = Arc::new(Journal::create(dir.path())?);
    println!("{}", report::start(case, options, dir.path()));
    let ended = AssertUnwindSafe(case::run(case, options, dir.path(), &journal))
        .catch_unwind()
        .await;
    let outcome = match ended {
        Ok(outcome) => outcome,
        // What it says has been printed where it happened.
        Err(_) => Err(anyhow!("it panicked, see above")),
    };
    println!("{}", report::faults(&journal.counts()));
    let passed = report::verdict(case, options, &outcome, &journal.failures());
    if keep || !passed {
        dir.disable_cleanup(true);
        println!("kept: {}", dir.path().display());
    }
    Ok(passed)
}

/// A seed from the clock, short enough to be typed.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_micros() as u64 % 1_000_000
}
