//! A message of the stream, judged as the daemon would.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde_json::Value;
use signal::{Invalid, Limits, Signal};

use super::TapArgs;
use super::reader::TapMessage;

/// A message and its verdict.
pub(super) struct Seen<'a> {
    pub message: &'a TapMessage,
    pub verdict: Verdict<'a>,
}

/// Verdict on a message.
pub(super) enum Verdict<'a> {
    /// It becomes a row, unless ClickHouse refuses it.
    Signal(Box<Signal<'a>>),
    /// It becomes a dead letter. Its fields are those that can be read.
    Invalid(Invalid, Box<Fields<'a>>),
}

/// Fields that filters look at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub event_type: Option<Cow<'a, str>>,
    pub severity: Option<i64>,
    pub wallet_address: Option<Cow<'a, str>>,
    pub source_id: Option<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    /// Judges a message.
    pub fn judge(message: &'a TapMessage, limits: &Limits) -> Self {
        let verdict = match Signal::parse(&message.body, &message.subject, limits) {
            Ok(signal) => Verdict::Signal(Box::new(signal)),
            Err(invalid) => {
                let fields = match &invalid {
                    Invalid::TooLarge { .. } => Fields::default(),
                    _ => Fields::read(&message.body),
                };
                Verdict::Invalid(invalid, Box::new(fields))
            }
        };
        Self { message, verdict }
    }

    /// Returns the fields that filters look at.
    fn fields(&self) -> Cow<'_, Fields<'a>> {
        match &self.verdict {
            Verdict::Invalid(_, fields) => Cow::Borrowed(fields),
            Verdict::Signal(signal) => Cow::Owned(Fields {
                event_type: Some(signal.event_type.clone()),
                severity: Some(signal.severity),
                wallet_address: Some(signal.wallet_address.clone()),
                source_id: Some(signal.source_id.clone()),
            }),
        }
    }
}

impl Fields<'static> {
    /// Reads what a message has of these fields.
    fn read(body: &[u8]) -> Self {
        let whole: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name| Some(Cow::Owned(whole.get(name)?.as_str()?.to_owned()));
        Self {
            event_type: text("event_type"),
            severity: whole.get("severity").and_then(Value::as_i64),
            wallet_address: text("wallet_address"),
            source_id: text("source_id"),
        }
    }
}

/// Signals to show.
pub(super) struct SignalFilter<'a>(pub &'a TapArgs);

impl SignalFilter<'_> {
    /// Reports whether to show a message: each given flag has to match. For a message without a
    /// readable type, its subject decides, by which the server filters.
    pub fn accepts(&self, seen: &Seen<'_>) -> bool {
        let TapArgs {
            types,
            severity,
            wallet,
            source,
            invalid,
            ..
        } = self.0;
        if *invalid && matches!(seen.verdict, Verdict::Signal(_)) {
            return false;
        }
        let fields = seen.fields();
        // A type that is missing or empty: the subject has been compared already.
        let event_type = fields
            .event_type
            .as_deref()
            .filter(|found| !found.is_empty());
        (event_type.is_none() || is_any_of(types, event_type))
            && is_within(severity, fields.severity)
            && is_any_of(wallet, fields.wallet_address.as_deref())
            && is_any_of(source, fields.source_id.as_deref())
    }
}

fn is_any_of(wanted: &[String], found: Option<&str>) -> bool {
    wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|one| one == found))
}

fn is_within(wanted: &[RangeInclusive<i64>], found: Option<i64>) -> bool {
    wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|one| one.contains(&found)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tap: TapArgs,
    }

    const GOOD: &str = r#"{"event_time":1,"source_id":"a","event_type":"t","payload":{},"severity":4,"trace_id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","wallet_address":"0x1"}"#;
    const BAD: &str = r#"{"source_id":"a","severity":9,"wallet_address":"0x1"}"#;
    const EMPTY: &str = r#"{"event_type":"","source_id":"b"}"#;

    #[test]
    fn each_flag_matches_any_of_its_values_and_all_flags_apply() {
        for (flags, expected) in [
            (vec![], "good bad text empty"),
            (vec!["--type=t"], "good bad text empty"),
            (vec!["--type=other"], "bad text empty"),
            (vec!["--severity=4-"], "good bad"),
            (vec!["--severity=1,4"], "good"),
            (vec!["--wallet=0x1", "--wallet=0x2"], "good bad"),
            (vec!["--wallet=0x2"], ""),
            (vec!["--source=a", "--severity=9"], "bad"),
            (vec!["--source=b", "--severity=9"], ""),
            (vec!["--invalid"], "bad text empty"),
            (vec!["--invalid", "--source=a"], "bad"),
        ] {
            let line = Line::parse_from(std::iter::once("tap").chain(flags.iter().copied()));
            let filter = SignalFilter(&line.tap);
            let shown = [
                ("good", GOOD),
                ("bad", BAD),
                ("text", "no JSON"),
                ("empty", EMPTY),
            ]
            .into_iter()
            .filter(|(_, body)| {
                let message = TapMessage::new("signals.t", body);
                filter.accepts(&Seen::judge(&message, &Limits::default()))
            });
            let shown: Vec<_> = shown.map(|(name, _)| name).collect();
            assert_eq!(shown.join(" "), expected, "{flags:?}");
        }
    }
}
