//! A publisher that speaks NATS by itself, since no client library sends what a hostile one may.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Subject of JetStream's answers.
const INBOX: &str = "_INBOX.raw.answers";
/// Ends a test whose answer does not come. No test is about this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

pub struct RawNats {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl RawNats {
    /// Connects to a URL such as `nats://127.0.0.1:4222`.
    pub fn connect(url: &str) -> Self {
        let address = url.strip_prefix("nats://").unwrap();
        let writer = TcpStream::connect(address).unwrap();
        writer.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        let mut this = Self {
            reader: BufReader::new(writer.try_clone().unwrap()),
            writer,
        };
        assert!(this.line().starts_with("INFO "));
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"lang":"raw","version":"0","protocol":1}"#;
        let hello = format!("CONNECT {options}\r\nSUB {INBOX} 1\r\n");
        this.writer.write_all(hello.as_bytes()).unwrap();
        this
    }

    /// Publishes exactly these bytes, and returns the message's sequence; `Err` has what
    /// JetStream says instead.
    pub fn publish(
        &mut self,
        subject: &str,
        header_block: Option<&[u8]>,
        body: &[u8],
    ) -> Result<u64, String> {
        let command = match header_block {
            None => format!("PUB {subject} {INBOX} {}\r\n", body.len()),
            Some(block) => {
                let total = block.len() + body.len();
                format!("HPUB {subject} {INBOX} {} {total}\r\n", block.len())
            }
        };
        let block = header_block.unwrap_or_default();
        let message = [command.as_bytes(), block, body, b"\r\n"].concat();
        self.writer.write_all(&message).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Result<u64, String> {
        loop {
            let line = self.line();
            if line.starts_with("PING") {
                self.writer.write_all(b"PONG\r\n").unwrap();
            } else if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                let bytes: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
                let mut body = vec![0; bytes + 2];
                self.reader.read_exact(&mut body).unwrap();
                let text = String::from_utf8_lossy(&body[..bytes]).into_owned();
                let answer: Value = serde_json::from_str(&text).unwrap_or_default();
                return answer["seq"].as_u64().ok_or(text);
            } else if line.starts_with("-ERR") {
                return Err(line);
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let bytes = self.reader.read_line(&mut line).unwrap();
        assert!(bytes > 0, "the server has closed the connection");
        line.trim_end().to_owned()
    }
}
