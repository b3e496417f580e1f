//! `risksignal top`: a running daemon's figures in the terminal, updated each second.

mod history;
mod view;

use std::time::Duration;

use anyhow::{Result, bail};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::cli::TopArgs;
use crate::command::output;
use crate::ops::client::{Client, ClientError};
use crate::ops::status::Status;
use crate::settings::Settings;

use history::StatusHistory;

/// Interval of requests.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the figures until `q`, Ctrl-C or `shutdown`, and restores the terminal.
///
/// # Errors
/// Fails when the output is no terminal, or the daemon does not answer at the start.
pub async fn top(args: &TopArgs, settings: &Settings, shutdown: CancellationToken) -> Result<()> {
    if !output::is_terminal() {
        bail!("`risksignal top` requires a terminal; programs can use `risksignal status --json`");
    }
    let client = Client::new(&settings.ops, args.daemon.url.as_deref()).await?;
    let history = StatusHistory::new(client.status().await?);
    let terminal = ratatui::try_init()?;
    let shown = show(terminal, &client, history, shutdown).await;
    ratatui::restore();
    shown
}

async fn show(
    mut terminal: DefaultTerminal,
    client: &Client,
    mut history: StatusHistory,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut events = EventStream::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        terminal.draw(|frame| view::draw(frame, &history, client.base(), trouble.as_deref()))?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.next() => match event {
                Some(Ok(event)) if ends(&event) => return Ok(()),
                // Redraws, for example after a resize of the terminal.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                // The terminal is gone.
                None => return Ok(()),
            },
            // Keeps the last answer, since a daemon that is down may come back.
            answer = query_status(&mut ticks, client) => match answer {
                Ok(status) => {
                    history.add(status);
                    trouble = None;
                }
                Err(error) => trouble = Some(error.to_string()),
            },
        }
    }
}

async fn query_status(ticks: &mut Interval, client: &Client) -> Result<Status, ClientError> {
    ticks.tick().await;
    client.status().await
}

fn ends(event: &Event) -> bool {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press,
        ..
    }) = event
    else {
        return false;
    };
    match code {
        KeyCode::Char('q') => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
