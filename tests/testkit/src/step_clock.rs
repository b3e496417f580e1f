//! The time of day of one process, which steps while it runs. Never this machine's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::repository::repository;
use crate::skip::skip;

/// A library that replaces the clock of the process that preloads it, and its file.
pub struct StepClock {
    library: PathBuf,
    /// Holds the difference to the true time, in seconds.
    file: PathBuf,
}

impl StepClock {
    /// A clock that is right, with its files in a folder; `None`, with a line that says so, where
    /// no clock can be stepped.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let source = repository("tests/testkit/src/step_clock.c");
        let clock = Self {
            library: folder.join("step_clock.so"),
            file: folder.join("step"),
        };
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .arg(&clock.library);
        assert!(compiler.arg(source).status().unwrap().success());
        clock.step(3600);
        let is_stepped = clock.date() - date(&mut Command::new("date")) > 3000;
        clock.step(0);
        if !is_stepped {
            skip("this kernel lets no process have a clock of its own");
        }
        is_stepped.then_some(clock)
    }

    /// The environment of a process that has this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("STEP_CLOCK".to_owned(), text(&self.file)),
        ]
    }

    /// Sets the difference to the true time, in seconds.
    pub fn step(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn date(&self) -> i64 {
        date(Command::new("date").envs(self.environment()))
    }
}

fn date(command: &mut Command) -> i64 {
    let output = command.arg("+%s").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap()
}
