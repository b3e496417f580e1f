//! `risksignal top`: a running daemon's figures in the terminal, each second anew.

mod history;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Result, bail};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ops::client::{Client, ClientError};
use crate::ops::status::Status;
use crate::settings::Settings;

use history::History;

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);

/// Shows the figures until `q`, Ctrl-C or `shutdown`, and restores the terminal.
///
/// # Errors
/// When the output is no terminal, or the daemon cannot be asked at the start.
pub async fn top(settings: &Settings, shutdown: CancellationToken) -> Result<()> {
    if !io::stdout().is_terminal() {
        bail!(
            "`risksignal top` needs a terminal; for programs there is `risksignal status --json`"
        );
    }
    let client = Client::new(&settings.ops)?;
    let history = History::new(client.status().await?);
    let terminal = ratatui::try_init()?;
    let shown = show(terminal, &client, history, shutdown).await;
    ratatui::restore();
    shown
}

async fn show(
    mut terminal: DefaultTerminal,
    client: &Client,
    mut history: History,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut events = EventStream::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        terminal.draw(|frame| view::draw(frame, &history, client.address(), trouble.as_deref()))?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.next() => match event {
                Some(Ok(event)) if ends(&event) => return Ok(()),
                // Such as a new size of the terminal: it is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                // The terminal is gone.
                None => return Ok(()),
            },
            // A daemon that is away may come back, so what it said last stays.
            answer = ask(&mut ticks, client) => match answer {
                Ok(status) => {
                    history.add(status);
                    trouble = None;
                }
                Err(error) => trouble = Some(error.to_string()),
            },
        }
    }
}

async fn ask(ticks: &mut Interval, client: &Client) -> Result<Status, ClientError> {
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
