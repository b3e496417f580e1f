//! Results: every round's values, as one table and as JSON.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::statistics::median;

/// Meaning of a value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    #[serde(skip)]
    decimals: usize,
    /// The rate, the count of instances or the like at which it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Metric {
    pub const fn new(name: &'static str, unit: &'static str, decimals: usize) -> Self {
        Self {
            name,
            unit,
            decimals,
            at: None,
        }
    }

    pub const fn at(self, at: u64) -> Self {
        Self {
            at: Some(at),
            ..self
        }
    }

    fn title(&self) -> String {
        let name = match self.at {
            Some(at) => self.name.replace("{}", &at.to_string()),
            None => self.name.to_owned(),
        };
        match self.unit {
            "" => name,
            unit => format!("{name} ({unit})"),
        }
    }
}

/// The values of one metric of one thing, one a round.
#[derive(Debug, Serialize)]
pub struct Series {
    pub label: String,
    #[serde(flatten)]
    pub metric: Metric,
    pub median: f64,
    pub values: Vec<f64>,
}

impl Series {
    pub fn lowest(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn highest(&self) -> f64 {
        let values = self.values.iter().copied();
        values.fold(f64::NEG_INFINITY, f64::max)
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub series: Vec<Series>,
    /// Rounds that do not count, and why.
    pub invalid: Vec<String>,
}

impl Report {
    pub fn add(&mut self, label: &str, metric: Metric, value: f64) {
        let known = |series: &&mut Series| series.label == label && series.metric == metric;
        match self.series.iter_mut().find(known) {
            Some(series) => {
                series.values.push(value);
                series.median = median(&series.values);
            }
            None => self.series.push(Series {
                label: label.to_owned(),
                metric,
                median: value,
                values: vec![value],
            }),
        }
    }

    /// A round that does not count.
    pub fn invalid(&mut self, why: String) {
        eprintln!("INVALID: {why}");
        self.invalid.push(why);
    }

    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// A line for each metric, a column for each thing measured: median and spread.
    pub fn table(&self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        let mut metrics: Vec<Metric> = Vec::new();
        for series in &self.series {
            if !labels.contains(&series.label.as_str()) {
                labels.push(&series.label);
            }
            if !metrics.contains(&series.metric) {
                metrics.push(series.metric);
            }
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(std::iter::once("median (lowest to highest)").chain(labels.clone()));
        for metric in metrics {
            let cells = labels.iter().map(|label| self.cell(label, metric));
            table.add_row(std::iter::once(metric.title()).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = table.to_string();
        for why in &self.invalid {
            let _ = write!(text, "\ninvalid: {why}");
        }
        text
    }

    fn cell(&self, label: &str, metric: Metric) -> String {
        let mut all = self.series.iter();
        let found = all.find(|series| series.label == label && series.metric == metric);
        let Some(series) = found else {
            return String::new();
        };
        let decimals = metric.decimals;
        let number = |value: f64| format!("{value:.decimals$}");
        match series.values.len() {
            1 => number(series.median),
            _ => format!(
                "{} ({} to {})",
                number(series.median),
                number(series.lowest()),
                number(series.highest())
            ),
        }
    }
}
