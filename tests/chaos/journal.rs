//! Faults that were injected, with their times, in a file next to the servers' logs; and how often,
//! for the table at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

/// The name of the file.
pub const FILE: &str = "faults.log";

pub struct Journal(Mutex<Entries>);

struct Entries {
    file: File,
    counts: BTreeMap<&'static str, u64>,
    failures: Vec<String>,
}

impl Journal {
    pub fn create(dir: &Path) -> std::io::Result<Self> {
        Ok(Self(Mutex::new(Entries {
            file: File::create(dir.join(FILE))?,
            counts: BTreeMap::new(),
            failures: Vec::new(),
        })))
    }

    /// Writes a line, with the time of day in UTC as the daemons' logs have it.
    pub fn note(&self, text: &str) {
        let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
        let now = OffsetDateTime::now_utc().format(format).unwrap_or_default();
        // A journal that cannot be written fails no run.
        let _ = writeln!(self.entries().file, "{now} {text}");
    }

    /// Counts a fault of this kind.
    pub fn count(&self, kind: &'static str) {
        *self.entries().counts.entry(kind).or_default() += 1;
    }

    /// Fails the run, which goes on all the same.
    pub fn fail(&self, what: String) {
        self.note(&what);
        self.entries().failures.push(what);
    }

    /// Number of faults of each kind that were injected.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.entries().counts.clone()
    }

    /// Failures until now.
    pub fn failures(&self) -> Vec<String> {
        self.entries().failures.clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
