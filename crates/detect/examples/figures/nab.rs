//! Numenta Anomaly Benchmark: our own scorer, after its published rules (Lavin and Ahmad 2015,
//! "Evaluating real-time anomaly detection algorithms"), with the standard profile.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use risksignal_detect::Series as Level;

use crate::Failure;

/// Cost of a false alarm in the standard profile; a hit earns 1 and a miss costs 1.
const FALSE_ALARM: f64 = 0.11;

/// A series with its labelled windows, as indices of the first and last row.
struct Series {
    name: String,
    rows: Vec<(i64, f64)>,
    windows: Vec<(usize, usize)>,
}

/// A row's score, and what an alarm there earns.
struct Point {
    score: f64,
    /// Number of the window among all; `None` outside of windows.
    window: Option<usize>,
    earns: f64,
}

/// Files of a tar archive, by name.
fn files(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
    let mut files = BTreeMap::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 512) {
        let text = |from: usize, to: usize| {
            let field = head[from..to].split(|byte| *byte == 0).next();
            String::from_utf8_lossy(field.unwrap_or_default())
                .trim()
                .to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap_or(0);
        if let Some(body) = bytes.get(at + 512..at + 512 + size) {
            files.insert(text(0, 100), String::from_utf8_lossy(body).into_owned());
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    Ok(files)
}

fn read(folder: &Path) -> Result<Vec<Series>, Failure> {
    let files = files(&folder.join("nab_data_labels.tar.gz"))?;
    let windows = files
        .get("nab/labels/combined_windows.json")
        .ok_or("no windows")?;
    let windows: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(windows)?;
    let mut all = Vec::new();
    for (name, windows) in windows {
        let text = files.get(&format!("nab/data/{name}")).ok_or("no series")?;
        let lines: Vec<(&str, &str)> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(','))
            .collect();
        let index = |time: &String| lines.iter().position(|line| line.0 == &time[..19]);
        let windows = windows
            .iter()
            .filter_map(|(from, to)| Some((index(from)?, index(to)?)));
        let windows = windows.collect();
        let rows = lines.iter().filter_map(|(time, value)| {
            let time = format!("{}T{}.000Z", &time[..10], &time[11..]);
            Some((crate::payments::micros(&time)?, value.trim().parse().ok()?))
        });
        all.push(Series {
            rows: rows.collect(),
            name,
            windows,
        });
    }
    Ok(all)
}

fn sigmoid(position: f64) -> f64 {
    if position > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * position).exp()) - 1.0
    }
}

/// Points of a series after the probation, and the number of its windows.
fn points(series: &Series, first_window: usize) -> Vec<Point> {
    let mut level = Level::default();
    let probation = series.rows.len().min(5_000) * 15 / 100;
    let mut points = Vec::new();
    for (row, (at_us, value)) in series.rows.iter().enumerate() {
        let score = level
            .look(*at_us, *value, 0.0)
            .map_or(0.0, |finding| finding.score);
        if row < probation {
            continue;
        }
        let within = series
            .windows
            .iter()
            .position(|(from, to)| (*from..=*to).contains(&row));
        let earns = match within {
            Some(window) => {
                let (from, to) = series.windows[window];
                let width = (to - from + 1) as f64;
                sigmoid(-((to - row + 1) as f64) / width) / sigmoid(-1.0)
            }
            None => {
                let before = series.windows.iter().rfind(|(_, to)| *to < row);
                let earns = before.map_or(-1.0, |(from, to)| {
                    sigmoid((row - to) as f64 / ((to - from) as f64))
                });
                earns * FALSE_ALARM
            }
        };
        let window = within.map(|window| first_window + window);
        points.push(Point {
            score,
            window,
            earns,
        });
    }
    points
}

/// Best threshold for points, and its score before normalization; or the score of a threshold.
fn sweep(mut points: Vec<&Point>, windows: usize, fixed: Option<f64>) -> (f64, f64) {
    points.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut best_of = BTreeMap::<usize, f64>::new();
    let mut sum = -(windows as f64);
    let (mut best, mut best_threshold) = (sum, f64::INFINITY);
    for (index, point) in points.iter().enumerate() {
        if fixed.is_some_and(|fixed| point.score < fixed) || point.score <= 0.0 {
            break;
        }
        match point.window {
            None => sum += point.earns,
            Some(window) => {
                let old = best_of.get(&window).copied().unwrap_or(-1.0);
                let new = if best_of.contains_key(&window) {
                    old.max(point.earns)
                } else {
                    point.earns
                };
                best_of.insert(window, new);
                sum += new - old;
            }
        }
        let ends = points
            .get(index + 1)
            .is_none_or(|next| next.score < point.score);
        if ends && (fixed.is_some() || sum > best) {
            (best, best_threshold) = (sum, point.score);
        }
    }
    (best_threshold, best)
}

/// Score from 0 (no alarms) to 100 (perfect).
fn normalized(score: f64, windows: usize) -> f64 {
    let windows = windows as f64;
    100.0 * (score + windows) / (2.0 * windows)
}

/// Prints the score of the tuned half (even places by sorted name), of the half that was never
/// looked at, and of all, with the threshold of the tuned half.
pub fn print(folder: &Path, detail: bool, all_halves: bool) -> Result<(), Failure> {
    let series = read(folder)?;
    let mut halves = [(Vec::new(), 0), (Vec::new(), 0)];
    for (place, one) in series.iter().enumerate() {
        let half = &mut halves[place % 2];
        half.0.push((points(one, half.1), one));
        half.1 += one.windows.len();
    }
    let of = |half: &(Vec<(Vec<Point>, &Series)>, usize), fixed| {
        let points = half.0.iter().flat_map(|(points, _)| points).collect();
        sweep(points, half.1, fixed)
    };
    let (threshold, tuned) = of(&halves[0], None);
    let tuned_score = normalized(tuned, halves[0].1);
    println!(
        "tuned half: {tuned_score:.1} at threshold {threshold:.3}, {} windows",
        halves[0].1
    );
    if detail {
        for (points, one) in &halves[0].0 {
            let windows = one.windows.len();
            let (_, score) = sweep(points.iter().collect(), windows, Some(threshold));
            let (own, best) = sweep(points.iter().collect(), windows, None);
            let alarms = points.iter().filter(|point| point.score >= threshold);
            let alarms = alarms
                .clone()
                .filter(|point| point.window.is_none())
                .count();
            println!(
                "{:60} {windows} {score:6.2} false {alarms:3} best {best:6.2} at {own:.3}",
                one.name
            );
        }
    }
    if all_halves {
        let (_, unseen) = of(&halves[1], Some(threshold));
        let unseen_score = normalized(unseen, halves[1].1);
        let windows = halves[0].1 + halves[1].1;
        let all = normalized(tuned + unseen, windows);
        println!("unseen half: {unseen_score:.1}, {} windows", halves[1].1);
        println!("all series: {all:.1}");
    }
    Ok(())
}
