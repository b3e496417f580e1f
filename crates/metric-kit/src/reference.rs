//! The reference page of all metrics.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;

use crate::declaration::{Declaration, Label, MetricKind};
use crate::group::Group;

/// Writes the reference page: a table for each group of metrics, in Markdown.
pub fn reference(groups: &[Group]) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Every metric that `/metrics` answers for Prometheus. Where all values of the labels are listed,\n\
         the series begin at zero. Each instance counts for itself since its start. This page is\n\
         generated from the code.\n",
    );
    for group in groups {
        text += &heading(group.title());
        for metric in group.metrics {
            text += &row(
                metric.name,
                metric.kind,
                &in_words(metric.labels),
                &meaning(metric),
            );
        }
    }
    text += &heading("The process");
    for family in ProcessCollector::for_self().collect() {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => MetricKind::Counter,
            _ => MetricKind::Gauge,
        };
        text += &row(family.name(), kind, "", family.help());
    }
    text
}

fn heading(title: &str) -> String {
    format!("\n## {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
}

fn row(name: &str, kind: MetricKind, labels: &str, meaning: &str) -> String {
    let meaning = meaning.trim_end_matches('.');
    let kind = kind.name();
    format!("| `{name}` | {kind} | {labels} | {meaning}. |\n")
}

fn in_words(labels: &[Label]) -> String {
    let words = labels.iter().map(|label| {
        let values: Vec<String> = label.values.iter().map(|one| format!("`{one}`")).collect();
        match values.as_slice() {
            [] => format!("`{}`", label.name),
            values => format!("`{}`: {}", label.name, values.join(", ")),
        }
    });
    words.collect::<Vec<_>>().join("; ")
}

fn meaning(metric: &Declaration) -> String {
    let help = metric.help();
    match metric.buckets {
        [first, .., last] => {
            let count = metric.buckets.len();
            format!("{help}; {count} buckets, {first} to {last}")
        }
        _ => help.to_owned(),
    }
}

#[cfg(test)]
#[allow(dead_code)] // Fields of examples that only the registry reads.
mod tests {
    use super::*;
    use crate::{Histogram, IntCounterVec, IntGauge, MetricGroup, SECONDS};

    crate::metrics! {
        /// Letters
        /// of a day.
        pub struct LetterMetrics {
            /// Letters that
            /// wait.
            letters_waiting: IntGauge;
            /// Letters that came back.
            letters_returned_total: IntCounterVec, label "reason" in &["address", "postage"], label "office";
            /// Time of a letter.
            letter_duration_seconds: Histogram, buckets SECONDS;
        }
    }

    #[test]
    fn the_page_has_a_row_for_each_metric_and_for_the_process() {
        let page = reference(&[LetterMetrics::GROUP]);
        for line in [
            "## Letters of a day",
            "| `risksignal_letters_waiting` | gauge |  | Letters that wait. |",
            "| `risksignal_letters_returned_total` | counter | `reason`: `address`, `postage`; `office` | Letters that came back. |",
            "| `risksignal_letter_duration_seconds` | histogram |  | Time of a letter; 20 buckets, 0.00005 to 300. |",
        ] {
            assert!(page.lines().any(|one| one == line), "{line}\n{page}");
        }
        assert!(page.contains("| `process_open_fds` | gauge |"), "{page}");
        assert!(page.contains("| `process_cpu_seconds_total` | counter |"));
    }
}
