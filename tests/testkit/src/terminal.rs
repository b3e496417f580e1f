//! A program in a pseudo-terminal of 80 columns and 24 lines, by util-linux's `script`.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use crate::binary::program;
use crate::wait::eventually;

pub struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts the binary in it.
    #[expect(clippy::disallowed_methods, reason = "a shell needs its PATH")]
    pub fn spawn(argument: &str, environment: &[(String, String)], dir: &Path) -> Self {
        let command = format!(
            "stty rows 24 cols 80 && exec {} {argument}",
            program().display()
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command])
            .arg("/dev/null")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .envs(environment.iter().cloned())
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let (rows, columns) = (NonZero::new(24).unwrap(), NonZero::new(80).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let drawn = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { child, screen }
    }

    /// Text on the screen.
    pub fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Reports if the program has the screen to itself, and the shell's is kept for later.
    pub fn is_taken(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Reports if anything on the screen has a color of its own.
    pub fn is_colored(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| screen.cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    pub fn hides_cursor(&self) -> bool {
        self.screen.lock().unwrap().screen().hide_cursor()
    }

    /// Waits until the screen shows a text, and returns the screen.
    pub async fn shows(&self, text: &str) -> String {
        self.shows_what(text, |screen| screen.contains(text)).await
    }

    /// Waits until the screen passes a check, and returns it.
    pub async fn shows_what(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        eventually(what, async || {
            Some(self.contents()).filter(|screen| is_so(screen))
        })
        .await
    }

    pub fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// The program's status, once it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the program ends", async || {
            child.lock().unwrap().try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program has its terminal from it, and ends by that.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the screen:\n{}", self.contents());
        }
    }
}
