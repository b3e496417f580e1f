//! Layout of the figures: all of them in 80 columns and 24 lines, with a wider chart if there is
//! room.

use indicatif::HumanCount;
use metric_kit::Distribution;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, RenderDirection, Sparkline};
use telemetry::recent::RecentDeadLetter;

use crate::command::wording::{NOTHING, count, in_flight, lasted, oldest_age, quantiles, time};
use crate::ops::health::State;
use crate::ops::history::Between;

use super::history::StatusHistory;

/// Draws the screen. `trouble` is the reason for which the daemon did not answer last time.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    history: &StatusHistory,
    address: &str,
    trouble: Option<&str>,
) {
    let [head, upper, lower, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(7),
        Constraint::Min(13),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let halves = [Constraint::Length(40), Constraint::Min(40)];
    let [dependencies, rate] = Layout::horizontal(halves).areas(upper);
    let [figures, letters] = Layout::horizontal(halves).areas(lower);
    draw_head(frame, head, history, address, trouble);
    draw_dependencies(frame, dependencies, history);
    draw_rate(frame, rate, history);
    draw_figures(frame, figures, history);
    draw_letters(frame, letters, history);
    frame.render_widget(Line::from("q quits; updated each second").dim(), foot);
}

fn draw_head(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &StatusHistory,
    address: &str,
    trouble: Option<&str>,
) {
    let status = history.latest();
    let (verdict, style) = match (trouble, status.health.ready) {
        (Some(_), _) => (" no answer ", Style::new().white().on_red()),
        (None, true) => (" ready ", Style::new().black().on_green()),
        (None, false) => (" not ready ", Style::new().white().on_red()),
    };
    let title = Line::from(vec![
        Span::from("RiskSignal Ingest ").bold(),
        Span::styled(verdict, style),
        Span::from(format!(
            " {}, up for {}, {address}",
            status.version,
            time(status.uptime_seconds)
        )),
    ]);
    let route = format!("{} → {} → {}", status.stream, status.consumer, status.table);
    let reason = trouble.or(status.health.reason.as_deref());
    let lines = vec![
        title,
        Line::from(route).dim(),
        Line::from(reason.unwrap_or_default().to_owned()).red(),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_dependencies(frame: &mut Frame<'_>, area: Rect, history: &StatusHistory) {
    let status = history.latest();
    let lines: Vec<Line<'_>> = status
        .health
        .dependencies
        .iter()
        .map(|(name, latch)| {
            let colour = match latch.state {
                State::Up => Color::Green,
                State::Waiting => Color::Yellow,
                State::Down => Color::Red,
            };
            let since = lasted(status, latch);
            Line::from(vec![
                Span::from(format!("{name:<12}")),
                Span::styled(format!("{:<8}", latch.state.name()), colour),
                Span::from(format!("for {since}")).dim(),
            ])
        })
        .collect();
    let block = Block::bordered().title("Dependencies");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, history: &StatusHistory) {
    let now = history
        .between()
        .map_or(NOTHING.to_owned(), |now| rate(now.signals_per_second));
    let rates: Vec<u64> = history.rates().collect();
    let chart = Sparkline::default()
        .block(Block::bordered().title(format!("Signals per second: {now}")))
        // The newest value is at the right.
        .direction(RenderDirection::RightToLeft)
        .data(&rates)
        .style(Color::Cyan);
    frame.render_widget(chart, area);
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, history: &StatusHistory) {
    let metrics = &history.latest().metrics;
    let count = |name: &str| count(metrics, name);
    let between = history.between();
    let no_times = Distribution::default();
    let times = |of: fn(&Between) -> &Distribution| quantiles(between.map_or(&no_times, of));
    let per_second =
        |of: fn(&Between) -> f64| between.map_or(NOTHING.to_owned(), |between| rate(of(between)));
    let rows = between.and_then(|between| between.batch_rows.mean());
    let lines = [
        ("latency", times(|between| &between.latency)),
        ("insert", times(|between| &between.insert)),
        (
            "batches",
            format!(
                "{}/s of {} rows",
                per_second(|between| between.batches_per_second),
                rows.map_or(NOTHING.to_owned(), rate)
            ),
        ),
        ("inserted", count("signals_inserted_total").to_string()),
        ("duplicates", count("signals_duplicate_total").to_string()),
        ("pending", count("consumer_pending_messages").to_string()),
        (
            "not acked",
            count("consumer_ack_pending_messages").to_string(),
        ),
        ("oldest", oldest_age(metrics)),
        ("in flight", in_flight(metrics)),
        ("retries", count("insert_retries_total").to_string()),
        ("reconnects", count("nats_reconnects_total").to_string()),
    ];
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|(name, what)| {
            let name = Span::from(format!("{name:<11}")).dim();
            Line::from(vec![name, Span::from(what)])
        })
        .collect();
    let block = Block::bordered().title("Now");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_letters(frame: &mut Frame<'_>, area: Rect, history: &StatusHistory) {
    let status = history.latest();
    let mut lines: Vec<Line<'_>> = status
        .metrics
        .series("signals_dead_lettered_total")
        .iter()
        .map(|series| {
            let reason = series.label("reason");
            let count = HumanCount(series.value() as u64).to_string();
            let line = Line::from(format!("{reason:<22} {count:>14}"));
            if series.value() > 0.0 {
                line.yellow()
            } else {
                line.dim()
            }
        })
        .collect();
    let newest = status.last_dead_letters.iter();
    lines.extend(newest.map(|letter| {
        let RecentDeadLetter {
            dead_letter_seq,
            error,
            ..
        } = letter;
        Line::from(format!("#{dead_letter_seq} {error}"))
    }));
    let a_second = history
        .between()
        .map_or(NOTHING.to_owned(), |now| rate(now.dead_letters_per_second));
    let block = Block::bordered().title(format!("Dead letters: {a_second} per second"));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Formats a rate, with a decimal if it is small.
fn rate(number: f64) -> String {
    if number > 0.0 && number < 10.0 {
        format!("{number:.1}")
    } else {
        HumanCount(number as u64).to_string()
    }
}

#[cfg(test)]
mod tests;
