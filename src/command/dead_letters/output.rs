//! Tables, times and texts of dead letters, for people.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

pub(super) use crate::command::output::{
    StandardOutput, columns, note, print, print_json, standard,
};

/// Reports whether a character is invisible or reorders the text around it: the categories Cf, Zl
/// and Zp of Unicode, as its bidirectional overrides.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns a text on one line that neither controls the terminal nor looks like another text, since
/// anyone may have published it.
pub(in crate::command) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() || is_invisible(c) {
            true => c.escape_default().collect(),
            false => vec![c],
        })
        .collect()
}

/// Returns several lines that cannot control the terminal.
pub(in crate::command) fn harmless_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    lines.join("\n")
}

/// Formats a time as RFC 3339 in UTC, to the millisecond.
pub(in crate::command) fn time(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let utc = time.to_offset(time::UtcOffset::UTC);
    utc.format(FORMAT).unwrap_or_default()
}

/// Table whose columns are as wide as the widest among its first rows, so that a long list appears
/// as it is read.
pub(super) struct TextTable<W> {
    out: W,
    columns: Option<usize>,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

/// Rows that determine the widths.
const MEASURED_ROWS: usize = 200;

impl<W: Write> TextTable<W> {
    /// Creates a table with these headings, at most `columns` columns of the terminal wide.
    pub fn new(out: W, columns: Option<usize>, headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| heading.to_string());
        Self {
            out,
            columns,
            waiting: vec![headings.collect()],
            widths: None,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, row: Vec<String>) -> io::Result<()> {
        self.waiting.push(row);
        if self.widths.is_some() || self.waiting.len() > MEASURED_ROWS {
            self.write_waiting()?;
        }
        Ok(())
    }

    /// Writes the rows so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_waiting()?;
        self.out.flush()
    }

    fn write_waiting(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let widths = self.widths.get_or_insert_with(|| {
            let columns = rows.first().map_or(0, Vec::len);
            let width = |at: usize| {
                rows.iter()
                    .map(|row: &Vec<String>| console::measure_text_width(&row[at]))
                    .max()
            };
            (0..columns).map(|at| width(at).unwrap_or(0)).collect()
        });
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths.iter()) {
                line += &console::pad_str(cell, *width, console::Alignment::Left, None);
                line += "  ";
            }
            let line = match self.columns {
                Some(columns) => console::truncate_str(line.trim_end(), columns, "…"),
                None => line.trim_end().into(),
            };
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cut_to_the_terminal() {
        let mut text = Vec::new();
        let mut table = TextTable::new(&mut text, Some(12), &["A", "LONG"]);
        table.row(vec!["1234".into(), "x".into()]).unwrap();
        table.row(vec!["1".into(), "much too long".into()]).unwrap();
        table.flush().unwrap();
        drop(table);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "A     LONG\n1234  x\n1     much …\n");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(harmless("a\u{202e}b\u{200b}é"), "a\\u{202e}b\\u{200b}é");
        assert_eq!(harmless_lines("a\n\u{7}"), "a\n\\u{7}");
    }
}
