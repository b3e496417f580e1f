//! A peer that cuts, lies and breaks off.

use risksignal_nats_reader::{ConnectError, Login, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Log, MESSAGE_MAX, connect, options, receive, until};

const INFO: &str = "INFO {\"max_payload\":1048576,\"nonce\":\"\"}\r\n";

pub struct Peer(TcpListener);

impl Peer {
    pub async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Accepts a connection as a server would.
    pub async fn accept(&self) -> TcpStream {
        let mut socket = self.0.accept().await.unwrap().0;
        socket.set_nodelay(true).unwrap();
        socket.write_all(INFO.as_bytes()).await.unwrap();
        read_until(&mut socket, "PING\r\n").await;
        socket.write_all(b"PONG\r\n").await.unwrap();
        socket
    }

    /// Accepts a connection and sends nothing but this.
    async fn answer(&self, bytes: &[u8]) {
        let mut socket = self.0.accept().await.unwrap().0;
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        read_to_end(&mut socket).await;
    }
}

/// Reads until the client's bytes end so.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut bytes = [0; 1024];
        let count = socket.read(&mut bytes).await.unwrap();
        assert!(
            count > 0,
            "the client has closed the connection after {text:?}"
        );
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    text
}

pub async fn read_to_end(socket: &mut TcpStream) {
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_is_not_connected_to() {
    let peer = Peer::start().await;
    for (bytes, words) in [
        (&b""[..], "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown operation"),
        (b"PING\r\n", "does not begin with INFO"),
        (b"INFO {\r\n", "INFO is malformed"),
        (
            b"INFO {}\r\n-ERR 'Maximum Connections Exceeded'\r\n",
            "Maximum Connections Exceeded",
        ),
        (
            b"INFO {\"tls_required\":true}\r\nPONG\r\n",
            "more than INFO before TLS",
        ),
        (b"INFO {\"tls_required\":true}\r\n", "no TLS in this test"),
        (b"INFO {}\r\n\xff\xfe", "unknown operation"),
    ] {
        let options = options(&[peer.address()], Login::None, &Log::default());
        let (connected, ()) = tokio::join!(Reader::connect(options), peer.answer(bytes));
        let error = connected.err().unwrap();
        assert!(matches!(error, ConnectError::Dial(_)));
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

/// Whatever ends a connection, the next one is made, and the reason is reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again_and_says_why() {
    let peer = Peer::start().await;
    let servers = [peer.address()];
    let too_large = format!("MSG a 1 {}\r\n", MESSAGE_MAX + 1);
    for (bytes, words) in [
        ("", "closed the connection"),
        ("MSG a.b 1", "closed the connection"),
        ("MSG a 1 5\r\nhel", "closed the connection"),
        ("MSG a 1 5\r\nhello!!", "longer or shorter than its line"),
        ("MSG a 1 five\r\n", "malformed line"),
        (too_large.as_str(), "at most"),
        ("\0\0\0\0", "unknown operation"),
        ("INFO [\r\n", "malformed INFO"),
        (
            "-ERR 'Authorization Violation'\r\n",
            "Authorization Violation",
        ),
        (
            "-ERR 'User Authentication Expired'\r\n",
            "Authentication Expired",
        ),
        (
            "-ERR 'User Authentication Revoked'\r\n",
            "Authentication Revoked",
        ),
        (
            "-ERR 'Account Authentication Expired'\r\n",
            "Account Authentication",
        ),
        (
            "-ERR 'Authentication Timeout'\r\n",
            "Authentication Timeout",
        ),
        ("-ERR 'Stale Connection'\r\n", "Stale Connection"),
        ("-ERR 'Slow Consumer'\r\n", "Slow Consumer"),
        ("-ERR 'Maximum Payload Violation'\r\n", "Maximum Payload"),
        (
            "-ERR 'Maximum Connections Exceeded'\r\n\0",
            "Maximum Connections",
        ),
        ("-ERR 'Parser Error'\r\n", "Parser Error"),
        ("-ERR 'Unknown Protocol Operation'\r\n", "Unknown Protocol"),
        ("-ERR 'Failed Account Registration'\r\n", "Failed Account"),
    ] {
        let log = Log::default();
        let (reader, mut socket) = tokio::join!(connect(&servers, &log), peer.accept());
        socket.write_all(bytes.as_bytes()).await.unwrap();
        drop(socket);
        log.has(words).await;
        let _next = peer.accept().await;
        until("it is connected again", async || reader.connects() == 2).await;
    }
}

/// Errors after which a server goes on, and messages to nobody, are no end.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_may_say_ends_no_connection() {
    let (log, peer) = (Log::default(), Peer::start().await);
    let servers = [peer.address()];
    let (reader, mut socket) = tokio::join!(connect(&servers, &log), peer.accept());
    let inbox = reader.subscribe().unwrap();
    read_until(&mut socket, " 1\r\n").await;
    let text = "+OK\r\nPING\r\nMSG x 99 1\r\n?\r\nPONG\r\nPONG\r\nINFO {\"max_payload\":5}\r\n\
                -ERR 'Permissions Violation for Publish to \"x\"'\r\n-ERR 'Invalid Subject'\r\n\
                -ERR 'maximum subscriptions exceeded'\r\nMSG a 1 0\r\n\r\nHMSG b 1 r 0 1\r\n!\r\n";
    // Byte by byte: every cut.
    for byte in text.bytes() {
        socket.write_all(&[byte]).await.unwrap();
    }
    let messages = receive(&inbox, 2).await;
    assert_eq!(messages[0].subject(), b"a");
    assert_eq!(
        (messages[1].headers(), messages[1].body()),
        (Some(&b""[..]), &b"!"[..])
    );
    read_until(&mut socket, "PONG\r\n").await;
    // What came with the messages is looked at behind them.
    log.has("maximum subscriptions exceeded").await;
    assert_eq!((reader.connects(), reader.max_payload()), (1, 5));
    let refused = log
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("refused"));
    assert_eq!(refused.count(), 3);
}

/// A server that shows no sign of life is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_left() {
    let (log, peer) = (Log::default(), Peer::start().await);
    let mut options = options(&[peer.address()], Login::None, &log);
    options.ping_interval = std::time::Duration::from_millis(50);
    let (reader, mut socket) = tokio::join!(Reader::connect(options), peer.accept());
    read_until(&mut socket, "PING\r\n").await;
    let _next = peer.accept().await;
    log.has("has sent nothing").await;
    until("it is connected again", async || {
        reader.as_ref().unwrap().connects() > 1
    })
    .await;
}
