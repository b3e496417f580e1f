//! Prints lines in a thread of its own: an output that is stuck blocks nothing else.

use std::io::{self, Write};
use std::thread;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use crate::command::output;

/// Lines that wait for the output. Then reading pauses, and messages wait in the stream.
const LINES_MAX: usize = 64;

/// Starts the thread. It ends with its result once all senders are dropped, or the output cannot
/// be written.
#[expect(
    clippy::disallowed_methods,
    reason = "the lines of a thread that the runtime does not wait for"
)]
pub(super) fn start() -> (Sender<String>, oneshot::Receiver<io::Result<()>>) {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let (ended, result) = oneshot::channel();
    // Not a task: the runtime would wait for it at the end.
    thread::spawn(move || {
        // An error means that nobody waits for the result.
        let _ = ended.send(print(lines));
    });
    (sender, result)
}

fn print(mut lines: Receiver<String>) -> io::Result<()> {
    let mut out = output::standard();
    loop {
        let line = match lines.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Disconnected) => return out.flush(),
            Err(TryRecvError::Empty) => {
                out.flush()?;
                match lines.blocking_recv() {
                    Some(line) => line,
                    None => return Ok(()),
                }
            }
        };
        writeln!(out, "{line}")?;
    }
}
