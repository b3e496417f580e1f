//! Plots for the documentation.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::report::{Metric, Report, Series};
use super::{batches, latency};

const SIZE: (u32, u32) = (800, 480);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x17, 0xbe, 0xcf),
];

/// The values of one metric of one thing over what they were taken at.
struct Line {
    label: String,
    points: Vec<Point>,
}

struct Point {
    at: f64,
    lowest: f64,
    median: f64,
    highest: f64,
}

struct Text {
    title: &'static str,
    across: &'static str,
    up: &'static str,
}

/// Draws what there is to draw.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let throughput = lines(report, &[(batches::THROUGHPUT, "")], 1e-3);
    if let Some((low, high)) = range(&throughput) {
        let text = Text {
            title: "Throughput from a backlog by the size of batches",
            across: "batch.max_rows (rows)",
            up: "thousand signals a second",
        };
        let path = folder.join("throughput-by-batch.svg");
        let up = 0.0..high.1 * 1.3;
        chart(&path, &text, &throughput, (low.0..high.0).log_scale(), up)?;
    }
    let percentiles = [(latency::P50, "p50"), (latency::P99, "p99")];
    let latencies = lines(report, &percentiles, 1.0);
    if let Some((low, high)) = range(&latencies) {
        let text = Text {
            title: "From JetStream's timestamp to committed in ClickHouse",
            across: "signals a second",
            up: "latency (ms)",
        };
        let path = folder.join("latency-by-rate.svg");
        // Room for the legend above the lines.
        let up = (low.1 * 0.7..high.1 * 5.0).log_scale();
        chart(&path, &text, &latencies, (low.0..high.0).log_scale(), up)?;
    }
    Ok(())
}

/// A line for each thing measured and each of the metrics, whatever it was taken at.
fn lines(report: &Report, metrics: &[(Metric, &str)], scale: f64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for series in &report.series {
        let metric = metrics
            .iter()
            .find(|metric| metric.0.name == series.metric.name);
        let (Some((_, name)), Some(at)) = (metric, series.metric.at) else {
            continue;
        };
        let label = format!("{} {name}", series.label).trim().to_owned();
        let point = point(series, at as f64, scale);
        match lines.iter_mut().find(|line| line.label == label) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                label,
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.at.total_cmp(&b.at));
    }
    // One point is no line.
    lines.retain(|line| line.points.len() > 1);
    lines
}

fn point(series: &Series, at: f64, scale: f64) -> Point {
    Point {
        at,
        lowest: series.lowest() * scale,
        median: series.median * scale,
        highest: series.highest() * scale,
    }
}

/// The lowest and the highest of both axes; `None` when there is nothing.
fn range(lines: &[Line]) -> Option<((f64, f64), (f64, f64))> {
    let points = lines.iter().flat_map(|line| &line.points);
    points
        .map(|point| ((point.at, point.lowest), (point.at, point.highest)))
        .reduce(|(low, high), (low_point, high_point)| {
            (
                (low.0.min(low_point.0), low.1.min(low_point.1)),
                (high.0.max(high_point.0), high.1.max(high_point.1)),
            )
        })
}

/// Draws lines with the spread of each point.
fn chart<X, Y>(path: &Path, text: &Text, lines: &[Line], across: X, up: Y) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(text.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(across, up)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .x_labels(6)
        .x_desc(text.across)
        .y_desc(text.up)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .label_style(("sans-serif", 14))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|error| failed(&error))?;
    for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
        let medians = line.points.iter().map(|point| (point.at, point.median));
        chart
            .draw_series(LineSeries::new(medians, color.stroke_width(2)).point_size(3))
            .map_err(|error| failed(&error))?
            .label(&line.label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        let spreads = line.points.iter().map(|point| {
            let Point {
                at,
                lowest,
                median,
                highest,
            } = *point;
            ErrorBar::new_vertical(at, lowest, median, highest, color.filled(), 8)
        });
        chart.draw_series(spreads).map_err(|error| failed(&error))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|error| failed(&error))?;
    area.present().map_err(|error| failed(&error))?;
    Ok(())
}
