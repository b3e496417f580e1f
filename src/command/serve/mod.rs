//! `risksignal serve`: the HTTP API, as a process of its own.

mod token;
mod watch;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::capacity::PublishRefusals;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::health::{Dependency, Health};
use crate::reload::Reload;
use crate::serve::Server;
use crate::service_manager;
use crate::settings::Settings;

pub use token::{TokenArgs, make as make_token};
use watch::Watch;

/// Arguments of `risksignal serve`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// Subcommand, instead of serving.
    #[command(subcommand)]
    pub command: Option<ServeCommand>,
}

/// Subcommands of `risksignal serve`.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Create a token: print it to standard error, and its entry of serve.tokens_file, which holds
    /// only its hash, to standard output
    Token(TokenArgs),
}

/// Serves until `shutdown`.
///
/// # Errors
/// Fails when a setting cannot be used, the address cannot be bound, or requests are unanswered
/// after `shutdown.grace`.
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
        refusals: PublishRefusals::default(),
    };
    let in_force = reload
        .on_sighup(settings, &ops.health)
        .context("cannot listen for SIGHUP")?;
    let settings = Arc::clone(&in_force.borrow());
    ops.listen(&in_force).await?;
    let server = Server::bind(&in_force, ops.metrics.serve(), &ops.refusals).await?;
    ops.health.up(Dependency::Pipeline);
    service_manager::ready().await;
    let client = server.client().clone();
    let watch = Watch::new(client, ops.clone(), settings)?;
    let stopping = async {
        shutdown.cancelled().await;
        ops.health
            .down(Dependency::Pipeline, "the daemon is stopping");
        service_manager::stopping("Answering what is under way").await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server.run(shutdown.clone()) => Ok(served?),
        () = watch.run() => Ok(()),
        () = stopping => Ok(()),
    }
}
