//! Variables of a `.env` file, and a fault for each malformed line.

use std::cell::Cell;
use std::io::{self, Read};

/// Returns the variables in file order, and the faults of the file. The process's own environment
/// stays as it is. No fault quotes a line: it may hold a password.
pub(crate) fn variables(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let text = text.trim_start_matches('\u{feff}');
    let lines_read = Cell::new(0);
    let source = LineByLine {
        rest: text.as_bytes(),
        lines_read: &lines_read,
    };
    let mut variables = Vec::new();
    let mut faults = Vec::new();
    for variable in dotenvy::from_read_iter(source) {
        match variable {
            Ok(variable) => variables.push(variable),
            Err(dotenvy::Error::LineParse(malformed, _)) => {
                // An unclosed quote includes the lines that follow.
                let more = malformed.lines().count().saturating_sub(1);
                let line = lines_read.get() - more.min(lines_read.get());
                faults.push(format!("line {line} is not NAME=value with closed quotes"));
            }
            Err(_) => faults.push("cannot be read".to_owned()),
        }
    }
    (variables, faults)
}

/// Passes on one line at a time, so that the parser's position is known when it finds a fault.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let newline = self.rest.iter().position(|byte| *byte == b'\n');
        let line = newline.map_or(self.rest.len(), |at| at + 1);
        let taken = line.min(buffer.len());
        buffer[..taken].copy_from_slice(&self.rest[..taken]);
        self.rest = &self.rest[taken..];
        // A line longer than the buffer counts with its last part.
        if taken > 0 && taken == line {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_lines(lines: &[usize]) -> Vec<String> {
        let fault = |line| format!("line {line} is not NAME=value with closed quotes");
        lines.iter().map(fault).collect()
    }

    #[test]
    fn each_malformed_line_is_reported_by_its_number_only() {
        let text = "# a\nA=1\nhunter2 b\n\nB='x\ny'\n=hunter2\nhunter2 b\nexport D=a b # c\nE=3\nC=\"hunter2\nF=1\n";
        let (variables, faults) = variables(text);
        let names: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "B", "E"]);
        assert_eq!(faults, fault_lines(&[3, 7, 8, 9, 11]));
    }

    #[test]
    fn a_long_line_is_one_line() {
        let (variables, faults) = variables(&format!("A={}\nhunter2", "x".repeat(50_000)));
        assert_eq!(variables[0].1.len(), 50_000);
        assert_eq!(faults, fault_lines(&[2]));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        let (variables, faults) = variables("\u{feff}A=1\r\nB=2\r\n");
        let expected = [("A", "1"), ("B", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!((variables.as_slice(), faults), (&expected[..], vec![]));
    }
}
