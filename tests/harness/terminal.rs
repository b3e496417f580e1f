//! A program in a pseudo-terminal of 80 columns and 24 lines, by util-linux's `script`.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::binary::BINARY;
use super::eventually;

pub struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts the binary in it.
    pub fn spawn(argument: &str, environment: &[(String, String)], dir: &Path) -> Self {
        let command = format!("stty rows 24 cols 80 && exec {BINARY} {argument}");
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

    /// What stands on the screen.
    pub fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether the program has the screen to itself, and the shell's is kept for later.
    pub fn is_taken(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    pub fn hides_cursor(&self) -> bool {
        self.screen.lock().unwrap().screen().hide_cursor()
    }

    /// Waits until the screen shows a text, and returns the screen.
    pub async fn shows(&self, text: &str) -> String {
        self.shows_what(text, |screen| screen.contains(text)).await
    }

    /// Waits until the screen is as it should be, and returns it.
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
