//! `dead-letters list --summary`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use bytesize::ByteSize;
use indicatif::HumanCount;
use jetstream::dead_letter::{DeadLetterHead, DeadLetterStream};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::output::{self, TextTable, harmless};
use super::select::{Chosen, Selected};
use super::{DeadLettersError, ListArgs};

/// Most groups, since anyone may publish any source. Further dead letters are counted together.
const GROUPS_MAX: usize = 1_000;
/// Longest text of a group in characters.
const TEXT_MAX: usize = 128;
/// Text of a group whose dead letters lack a field, or have none that can be read.
const UNKNOWN: &str = "–";

const HEADINGS: [&str; 7] = [
    "COUNT", "REASON", "TYPE", "SOURCE", "OLDEST", "NEWEST", "BYTES",
];

/// Common properties of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    reason: String,
    /// Field of the message, or else the second token of its subject.
    event_type: Option<String>,
    source_id: Option<String>,
}

/// Counted dead letters.
#[derive(Debug, Clone, Copy)]
struct Group {
    count: u64,
    bytes: u64,
    oldest: OffsetDateTime,
    newest: OffsetDateTime,
}

/// All counted dead letters.
#[derive(Debug, Default)]
struct Summary {
    groups: BTreeMap<Kind, Group>,
    /// Dead letters beyond [`GROUPS_MAX`].
    others: Option<Group>,
}

/// Counts the selected dead letters in one pass, with bounded memory.
pub(super) async fn summary(
    args: &ListArgs,
    letters: &DeadLetterStream,
) -> Result<(), DeadLettersError> {
    let mut summary = Summary::default();
    let mut chosen = Chosen::new(letters, &args.selection).with_bodies();
    while let Some(selected) = chosen.next().await? {
        if let Selected::Letter(letter) = selected {
            summary.add(&letter.head, &letter.body);
        }
    }
    match args.json {
        true => summary.write_json()?,
        false if summary.groups.is_empty() => {
            let stream = letters.stream();
            output::note(format_args!("no dead letters match in stream {stream}"));
        }
        false => summary.write_table()?,
    }
    Ok(())
}

impl Kind {
    fn of(head: &DeadLetterHead, body: &[u8]) -> Self {
        let whole: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name| whole.get(name).and_then(Value::as_str).map(short);
        Self {
            reason: short(&head.reason),
            event_type: text("event_type").or_else(|| head.subject.split('.').nth(1).map(short)),
            source_id: text("source_id"),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

impl Group {
    fn of(head: &DeadLetterHead) -> Self {
        Self {
            count: 1,
            bytes: head.bytes.unwrap_or_default(),
            oldest: head.time,
            newest: head.time,
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.oldest = self.oldest.min(other.oldest);
        self.newest = self.newest.max(other.newest);
    }

    fn row(&self, kind: [String; 3]) -> Vec<String> {
        let mut row = vec![HumanCount(self.count).to_string()];
        row.extend(kind);
        row.extend([output::time(self.oldest), output::time(self.newest)]);
        row.push(ByteSize(self.bytes).to_string());
        row
    }
}

impl Summary {
    fn add(&mut self, head: &DeadLetterHead, body: &[u8]) {
        let (kind, group) = (Kind::of(head, body), Group::of(head));
        if let Some(known) = self.groups.get_mut(&kind) {
            known.add(&group);
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(kind, group);
        } else {
            match &mut self.others {
                Some(others) => others.add(&group),
                others => *others = Some(group),
            }
        }
    }

    /// Returns the groups, the largest first.
    fn sorted(&self) -> Vec<(&Kind, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| Reverse(group.count));
        groups
    }

    fn write_table(&self) -> io::Result<()> {
        let mut table = TextTable::new(output::standard(), output::columns(), &HEADINGS);
        let mut total: Option<Group> = None;
        let mut add = |group: &Group| match &mut total {
            Some(total) => total.add(group),
            total => *total = Some(*group),
        };
        for (kind, group) in self.sorted() {
            let text = |text: &Option<String>| text.as_deref().map_or(UNKNOWN.into(), harmless);
            let (event_type, source_id) = (text(&kind.event_type), text(&kind.source_id));
            table.row(group.row([harmless(&kind.reason), event_type, source_id]))?;
            add(group);
        }
        if let Some(others) = &self.others {
            table.row(others.row(["(others)".into(), UNKNOWN.into(), UNKNOWN.into()]))?;
            add(others);
        }
        if let Some(total) = total {
            table.row(total.row(["total".into(), String::new(), String::new()]))?;
        }
        table.flush()
    }

    fn write_json(&self) -> io::Result<()> {
        let mut out = output::standard();
        let mut line = |kind: Option<&Kind>, group: &Group| {
            let line = GroupJson {
                reason: kind.map(|kind| kind.reason.as_str()),
                event_type: kind.and_then(|kind| kind.event_type.as_deref()),
                source_id: kind.and_then(|kind| kind.source_id.as_deref()),
                others: kind.is_none(),
                count: group.count,
                bytes: group.bytes,
                oldest: output::time(group.oldest),
                newest: output::time(group.newest),
            };
            serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
            writeln!(out)
        };
        for (kind, group) in self.sorted() {
            line(Some(kind), group)?;
        }
        if let Some(others) = &self.others {
            line(None, others)?;
        }
        out.flush()
    }
}

/// A group, for programs. Fields that cannot be read are `null`.
#[derive(Debug, Serialize)]
struct GroupJson<'a> {
    reason: Option<&'a str>,
    event_type: Option<&'a str>,
    source_id: Option<&'a str>,
    /// True for dead letters that are in no group of their own.
    others: bool,
    count: u64,
    bytes: u64,
    oldest: String,
    newest: String,
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    #[test]
    fn groups_are_bounded_and_nothing_is_left_out() {
        let mut summary = Summary::default();
        for number in 0..1_500_u64 {
            let time = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(number as i64);
            let head = DeadLetterHead::read(number, time, "dlq.signals.t.1", &HeaderMap::new());
            let body = format!(
                r#"{{"source_id":"{}"}}"#,
                "s".repeat(200) + &number.to_string()
            );
            summary.add(&head, body.as_bytes());
            let other = format!(r#"{{"source_id":"{number}"}}"#);
            summary.add(&head, other.as_bytes());
        }
        assert_eq!(summary.groups.len(), GROUPS_MAX);
        // Long texts are cut, so that they are one group.
        let (kind, group) = summary.sorted()[0];
        assert_eq!(kind.source_id.as_ref().unwrap().len(), TEXT_MAX);
        assert_eq!((group.count, group.newest.unix_timestamp()), (1_500, 1_499));
        let counted: u64 = summary.groups.values().map(|group| group.count).sum();
        assert_eq!(counted + summary.others.unwrap().count, 3_000);
    }
}
