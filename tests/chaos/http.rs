//! The proxy's understanding of HTTP/1.1: just enough to find where a request and its answer
//! end.

use std::io;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, sink,
};

use super::proxy::{Link, PIECE_BYTES, Weather};

/// Exceptions under which ClickHouse may have committed the insert or not, as it writes them.
const EXCEPTIONS: [(u32, &str); 4] = [
    (
        241,
        "(total) memory limit exceeded: would use 1.80 GiB (attempt to allocate chunk of 4194304 bytes), maximum: 1.80 GiB. (MEMORY_LIMIT_EXCEEDED)",
    ),
    (
        159,
        "Timeout exceeded: elapsed 2001.1 ms, maximum: 2000 ms. (TIMEOUT_EXCEEDED)",
    ),
    (
        209,
        "Timeout exceeded while writing to socket. (SOCKET_TIMEOUT)",
    ),
    (
        319,
        "Unknown status, client must retry. (UNKNOWN_STATUS_OF_INSERT)",
    ),
];

/// Passes on request after request, each with its answer.
pub async fn converse(
    from_client: impl AsyncRead + Unpin,
    mut to_client: impl AsyncWrite + Unpin,
    from_server: impl AsyncRead + Unpin,
    mut to_server: impl AsyncWrite + Unpin,
    link: &Link,
) -> io::Result<()> {
    let mut from_client = BufReader::with_capacity(PIECE_BYTES, from_client);
    let mut from_server = BufReader::with_capacity(PIECE_BYTES, from_server);
    for number in 0_usize.. {
        // Only when a request is there is it known which weather it meets. A server that says
        // something meanwhile closes the connection.
        let more = tokio::select! {
            request = from_client.fill_buf() => !request?.is_empty(),
            _ = from_server.fill_buf() => false,
        };
        if !more {
            break;
        }
        let exception = exception(number);
        match link.now() {
            Weather::ErrorInstead => {
                link.journal().count("error instead of the request");
                relay(&mut from_client, &mut sink(), link).await?;
                to_client.write_all(exception.as_bytes()).await?;
            }
            Weather::ErrorAfter => {
                link.journal().count("error in place of the answer");
                relay(&mut from_client, &mut to_server, link).await?;
                relay(&mut from_server, &mut sink(), link).await?;
                to_client.write_all(exception.as_bytes()).await?;
            }
            Weather::HalfAnswer(bytes) => {
                link.journal().count("half of an answer");
                relay(&mut from_client, &mut to_server, link).await?;
                let mut answer = Vec::new();
                relay(&mut from_server, &mut answer, link).await?;
                to_client.write_all(&answer[..bytes % answer.len()]).await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            _ => {
                relay(&mut from_client, &mut to_server, link).await?;
                relay(&mut from_server, &mut to_client, link).await?;
            }
        }
    }
    Ok(())
}

fn exception(number: usize) -> String {
    let (code, text) = EXCEPTIONS[number % EXCEPTIONS.len()];
    let body = format!("Code: {code}. DB::Exception: {text} (version 25.8.2.29)\n");
    format!(
        "HTTP/1.1 500 Internal Server Error\r\nConnection: Keep-Alive\r\nContent-Type: text/plain; charset=UTF-8\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Copies one message: its head, and the body that the head announces.
async fn relay(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    link: &Link,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        line(from, &mut head).await?;
    }
    link.pass().await;
    to.write_all(&head).await?;
    match body(&head) {
        Body::Length(length) => copy(from, to, length, link).await?,
        Body::Chunked => loop {
            let mut size = Vec::new();
            line(from, &mut size).await?;
            to.write_all(&size).await?;
            let size = std::str::from_utf8(&size).unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("no size of a chunk: {size:?}")))?;
            copy(from, to, size + 2, link).await?;
            if size == 0 {
                break;
            }
        },
    }
    to.flush().await
}

enum Body {
    Length(usize),
    Chunked,
}

fn body(head: &[u8]) -> Body {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    if field("transfer-encoding") == Some("chunked") {
        return Body::Chunked;
    }
    let length = field("content-length").and_then(|length| length.parse().ok());
    Body::Length(length.unwrap_or_default())
}

/// Appends one line; an end before it is an error.
async fn line(from: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<()> {
    match from.read_until(b'\n', line).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Copies so many bytes, each piece as soon as it is there.
async fn copy(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut length: usize,
    link: &Link,
) -> io::Result<()> {
    while length > 0 {
        let piece = from.fill_buf().await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = piece.len().min(length);
        link.pass().await;
        to.write_all(&piece[..bytes]).await?;
        from.consume(bytes);
        length -= bytes;
    }
    Ok(())
}
