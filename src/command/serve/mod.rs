//! `risksignal serve`: the way in over HTTP, as a process of its own.

mod token;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::Client;
use async_nats::connection::State;
use clap::{Args, Subcommand};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::capacity::Refusals;
use crate::jetstream::{self, topology};
use crate::ops::Ops;
use crate::ops::health::{Dependency, Health};
use crate::reload::Reload;
use crate::serve::Server;
use crate::service_manager;
use crate::settings::Settings;
use crate::telemetry::metrics::Metrics;

pub use token::{TokenArgs, make as make_token};

/// Between two looks at NATS.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `risksignal serve`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Make a token: prints it to standard error, and its entry of serve.tokens_file, which
    /// holds only its hash, to standard output
    #[command(after_help = "risksignal serve token NAME >> tokens.toml")]
    Token(TokenArgs),
}

/// Serves until `shutdown`.
///
/// # Errors
/// When a setting cannot be used or the address cannot be had, or requests are unanswered when
/// `shutdown.grace` is over.
pub async fn serve(settings: Settings, reload: Reload, shutdown: CancellationToken) -> Result<()> {
    let ops = Ops {
        metrics: Metrics::new().context("the metrics are malformed; please report it")?,
        recent: Arc::default(),
        health: Health::of(&[
            Dependency::Pipeline,
            Dependency::Nats,
            Dependency::Jetstream,
        ]),
        board: Arc::default(),
        refusals: Refusals::default(),
    };
    let in_force = reload
        .on_sighup(settings, &ops.health)
        .context("cannot listen for SIGHUP")?;
    let settings = Arc::clone(&in_force.borrow());
    ops.listen(&in_force).await?;
    let server = Server::bind(&in_force, &ops.metrics).await?;
    ops.health.up(Dependency::Pipeline);
    service_manager::ready().await;
    let client = server.client().clone();
    let stopping = async {
        shutdown.cancelled().await;
        ops.health.down(Dependency::Pipeline, "the daemon stops");
        service_manager::stopping("Answering what is under way").await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server.run(shutdown.clone()) => Ok(served?),
        () = look(&client, &ops, &settings) => Ok(()),
        () = stopping => Ok(()),
    }
}

/// Makes sure of the stream, and tells how NATS is; for ever.
async fn look(client: &Client, ops: &Ops, settings: &Settings) {
    let context = jetstream::context(client, &settings.nats);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let connects = client.statistics().connects.load(Ordering::Relaxed);
        ops.metrics.nats_connected(connects);
        if client.connection_state() != State::Connected {
            let reason = "there is no connection; connecting";
            ops.health.down(Dependency::Nats, reason);
            continue;
        }
        ops.health.up(Dependency::Nats);
        let was_up = ops.health.is_up(Dependency::Jetstream);
        match topology::ensure_stream(&context, &settings.stream).await {
            Ok(_) if was_up => {}
            Ok(_) => {
                ops.health.up(Dependency::Jetstream);
                info!(stream = settings.stream.name, "Publishing to JetStream");
            }
            Err(error) => ops.health.down(Dependency::Jetstream, error.to_string()),
        }
    }
}
