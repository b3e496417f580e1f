//! A server that says what a test has it say, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

/// Number that both clients give to their first subscription.
pub const SID: u64 = 1;
/// Ends a test that waits for what does not come. No test is about this time.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// `max_payload` of the first `INFO`.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Listens for one client. A client that connects again gets no answer.
pub struct Peer(TcpListener);

impl Peer {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> String {
        format!("nats://{}", self.0.local_addr().unwrap())
    }

    /// Accepts a connection as a server would, up to the client's subscription.
    pub async fn accept(&self) -> TcpStream {
        let mut socket = self.0.accept().await.unwrap().0;
        socket.set_nodelay(true).unwrap();
        let info = format!("INFO {{\"headers\":true,\"max_payload\":{MAX_PAYLOAD}}} \r\n");
        socket.write_all(info.as_bytes()).await.unwrap();
        read_line(&mut socket, "PING").await;
        socket.write_all(b"PONG\r\n").await.unwrap();
        let line = read_line(&mut socket, "SUB ").await;
        let sid = line.rsplit(' ').next().unwrap().parse();
        assert_eq!(sid, Ok(SID), "{line}");
        socket
    }
}

/// Reads up to a line that begins so; returns it.
async fn read_line(socket: &mut TcpStream, name: &str) -> String {
    let mut line = String::new();
    loop {
        let byte = socket.read_u8().await.unwrap();
        line.push(byte.into());
        if let Some(whole) = line.strip_suffix("\r\n") {
            if whole.starts_with(name) {
                return whole.to_owned();
            }
            line.clear();
        }
    }
}

/// Runs a test's clients and its peer in one thread: while one runs, the others wait.
pub fn run<T>(clients: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let in_time = async { tokio::time::timeout(DEADLINE, clients).await };
    runtime.block_on(in_time).expect("it ends in time")
}

/// Lets the other tasks run until `done`.
pub async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        yield_now().await;
    }
}

/// Splits bytes at these places.
pub fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.into_iter().chain([bytes.len()]);
    let mut from = 0;
    let pieces = ends.map(|to| &bytes[std::mem::replace(&mut from, to)..to]);
    pieces.filter(|piece| !piece.is_empty()).collect()
}
