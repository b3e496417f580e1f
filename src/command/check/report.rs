//! Findings: lines for people as they arrive, or one JSON document for programs.

use std::fmt::Display;

use console::Style;
use serde::Serialize;

use crate::capacity::Warning;
use crate::command::{exit, output};

/// Subject of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Area {
    Settings,
    Nats,
    Stream,
    Consumer,
    Claims,
    Storage,
    History,
    Clickhouse,
    Schema,
    Window,
    Views,
    Cache,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Nats => "nats",
            Self::Stream => "stream",
            Self::Consumer => "consumer",
            Self::Claims => "claims",
            Self::Storage => "storage",
            Self::History => "history",
            Self::Clickhouse => "clickhouse",
            Self::Schema => "schema",
            Self::Window => "window",
            Self::Views => "views",
            Self::Cache => "cache",
        }
    }
}

/// State of one subject, or the worst of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Ok,
    Warning,
    Fault,
}

impl State {
    /// Returns the word of a line, and its style on a terminal.
    fn shown(self) -> (&'static str, Style) {
        match self {
            Self::Ok => ("ok", Style::new().green()),
            Self::Warning => ("WARN", Style::new().yellow().bold()),
            Self::Fault => ("WRONG", Style::new().red().bold()),
        }
    }
}

/// One checked subject.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    area: Area,
    state: State,
    /// Kind, for programs.
    code: String,
    text: String,
    /// Remedy; `None` without a fault.
    remedy: Option<String>,
    /// True if the text includes its remedy, so that a line needs no other.
    #[serde(skip)]
    is_whole: bool,
}

/// A line is `clickhouse  WRONG  the finding: the remedy`.
impl Finding {
    fn line(&self, is_colored: bool) -> String {
        let (word, style) = self.state.shown();
        let word = style
            .force_styling(is_colored)
            .apply_to(format!("{word:<6}"));
        let remedy = self.remedy.as_ref().filter(|_| !self.is_whole);
        let remedy = remedy.map_or_else(String::new, |remedy| format!(": {remedy}"));
        format!("{:<11} {word} {}{remedy}", self.area.name(), self.text)
    }
}

/// Document of `--json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: &'static str,
    overall: State,
    exit_status: u8,
    findings: &'a [Finding],
}

/// Findings so far.
#[derive(Debug)]
pub(super) struct CheckReport {
    is_json: bool,
    findings: Vec<Finding>,
    /// True once output could not be written.
    is_unwritten: bool,
}

impl CheckReport {
    /// Starts without findings, for lines or a JSON document.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            findings: Vec::new(),
            is_unwritten: false,
        }
    }

    /// Adds a finding without a fault.
    pub fn ok(&mut self, area: Area, code: &str, text: impl Display) {
        self.add(area, State::Ok, code, text, None);
    }

    /// Adds a finding to act on that stops nothing now.
    pub fn warn(&mut self, area: Area, code: &str, text: impl Display, remedy: &str) {
        self.add(area, State::Warning, code, text, Some((remedy, false)));
    }

    /// Adds a finding that keeps the daemon from inserting, or publishers from publishing.
    pub fn fault(&mut self, area: Area, code: &str, text: impl Display, remedy: &str) {
        self.add(area, State::Fault, code, text, Some((remedy, false)));
    }

    /// Adds a fault from an error whose text includes the advice; the remedy is for programs.
    pub fn error(&mut self, area: Area, code: &str, error: impl Display, remedy: &str) {
        self.add(area, State::Fault, code, error, Some((remedy, true)));
    }

    /// Adds a warning of a running daemon by the same rule, with a server's words, if any.
    pub fn warning(&mut self, area: Area, warning: &Warning, words: Option<&str>) {
        let state = match warning.is_fault() {
            true => State::Fault,
            false => State::Warning,
        };
        let words = words.map_or_else(String::new, |words| format!(" ({words})"));
        let text = format!("{}{words}", warning.text);
        self.add(
            area,
            state,
            &warning.code,
            text,
            Some((&warning.remedy, false)),
        );
    }

    fn add(
        &mut self,
        area: Area,
        state: State,
        code: &str,
        text: impl Display,
        remedy: Option<(&str, bool)>,
    ) {
        let finding = Finding {
            area,
            state,
            code: code.to_owned(),
            text: text.to_string(),
            remedy: remedy.map(|(remedy, _)| remedy.to_owned()),
            is_whole: remedy.is_some_and(|(_, is_whole)| is_whole),
        };
        if !self.is_json {
            let line = finding.line(console::colors_enabled());
            self.is_unwritten |= output::print(line).is_err();
        }
        self.findings.push(finding);
    }

    /// Ends the output, and returns the exit status.
    pub fn end(self) -> u8 {
        let status = match self.overall() {
            State::Ok | State::Warning => 0,
            State::Fault => exit::FAILED,
        };
        self.end_with(status)
    }

    /// Like [`Self::end`], with its own exit status. Output that cannot be written is no success.
    pub fn end_with(mut self, exit_status: u8) -> u8 {
        if self.is_json {
            let printed = output::print_json(&Document {
                version: env!("CARGO_PKG_VERSION"),
                overall: self.overall(),
                exit_status,
                findings: &self.findings,
            });
            self.is_unwritten = printed.is_err();
        }
        match exit_status {
            0 if self.is_unwritten => exit::FAILED,
            status => status,
        }
    }

    fn overall(&self) -> State {
        let states = self.findings.iter().map(|finding| finding.state);
        states.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_no_fault_and_a_fault_is() {
        let mut report = CheckReport::new(false);
        report.ok(Area::Nats, "x", "well");
        assert_eq!(report.overall(), State::Ok);
        report.warn(Area::Nats, "x", "soon", "act");
        assert_eq!(report.overall(), State::Warning);
        report.fault(Area::Nats, "x", "broken", "mend it");
        report.ok(Area::Cache, "x", "well");
        assert_eq!(report.overall(), State::Fault);
        assert_eq!(report.end(), exit::FAILED);
    }

    #[test]
    fn a_line_has_the_remedy_once_and_color_where_it_is_asked_for() {
        let mut report = CheckReport::new(false);
        report.error(Area::Nats, "x", "away; mend it", "mend it");
        report.fault(Area::Cache, "x", "away", "mend it");
        let lines: Vec<String> = report.findings.iter().map(|it| it.line(false)).collect();
        assert_eq!(
            lines,
            [
                "nats        WRONG  away; mend it",
                "cache       WRONG  away: mend it"
            ]
        );
        let colored = report.findings[0].line(true);
        assert!(colored.contains("\u{1b}[31m"), "{colored:?}");
        assert_eq!(console::strip_ansi_codes(&colored), lines[0]);
    }
}
