//! Standard output, for people and for programs.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use console::Term;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Columns of a terminal that does not tell how many it has.
const COLUMNS: u16 = 120;

/// Standard output, buffered; lines are whole in any case.
pub(super) fn standard() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Columns there are; `None` when it is no terminal and a line may be of any length.
pub(super) fn columns() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = Term::stdout().size_checked();
    Some(usize::from(size.map_or(COLUMNS, |(_, columns)| columns)))
}

/// A text on one line that cannot steer the terminal, since letters hold what anybody may
/// have published.
pub(super) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect(),
            false => vec![c],
        })
        .collect()
}

/// Several lines that cannot steer the terminal.
pub(super) fn harmless_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    lines.join("\n")
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn time(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let utc = time.to_offset(time::UtcOffset::UTC);
    utc.format(FORMAT).unwrap_or_default()
}

/// Rows whose columns are as wide as the widest among the first of them, so that a long list
/// is shown as it comes.
pub(super) struct Table<W> {
    out: W,
    columns: Option<usize>,
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

/// Rows that the widths are taken from.
const MEASURED_ROWS: usize = 200;

impl<W: Write> Table<W> {
    /// A table with these headings, at most so many columns of the terminal wide.
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

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
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
        let mut table = Table::new(&mut text, Some(12), &["A", "LONG"]);
        table.row(vec!["1234".into(), "x".into()]).unwrap();
        table.row(vec!["1".into(), "much too long".into()]).unwrap();
        table.finish().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "A     LONG\n1234  x\n1     much …\n");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(harmless_lines("a\n\u{7}"), "a\n\\u{7}");
    }
}
