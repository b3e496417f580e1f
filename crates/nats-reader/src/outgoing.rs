//! Bytes that wait to be written, in the order in which they were added: many acks, one write.

/// Bytes that may wait; a task that adds more waits until some are written.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Operations that wait to be written.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Number of the connection; the one before the first has 0.
    pub connects: u64,
    /// True while that connection is up.
    pub is_up: bool,
    /// Pings that were added over it.
    pub pings: u64,
    bytes: Vec<u8>,
}

impl Outgoing {
    /// Reports whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.bytes.len() < WAITING_BYTES_MAX
    }

    /// Adds a message.
    pub fn publish(&mut self, subject: &[u8], reply: Option<&[u8]>, body: &[u8]) {
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(b"PUB ");
        bytes.extend_from_slice(subject);
        if let Some(reply) = reply {
            bytes.push(b' ');
            bytes.extend_from_slice(reply);
        }
        bytes.push(b' ');
        push_number(bytes, body.len() as u64);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, subject: &str, sid: u64) {
        let line = format!("SUB {subject} {sid}\r\n");
        self.bytes.extend_from_slice(line.as_bytes());
    }

    /// Adds the end of a subscription.
    pub fn unsubscribe(&mut self, sid: u64) {
        let line = format!("UNSUB {sid}\r\n");
        self.bytes.extend_from_slice(line.as_bytes());
    }

    /// Adds a ping; returns its number.
    pub fn ping(&mut self) -> u64 {
        self.bytes.extend_from_slice(b"PING\r\n");
        self.pings += 1;
        self.pings
    }

    /// Adds an answer to a ping.
    pub fn pong(&mut self) {
        self.bytes.extend_from_slice(b"PONG\r\n");
    }

    /// Swaps what waits with `written`, which is emptied first.
    pub fn take(&mut self, written: &mut Vec<u8>) {
        written.clear();
        std::mem::swap(&mut self.bytes, written);
    }

    /// Begins another connection. What was added while there was none is kept.
    pub fn up(&mut self) {
        self.connects += 1;
        (self.is_up, self.pings) = (true, 0);
    }

    /// Ends the connection: what waits was meant for it.
    pub fn down(&mut self) {
        self.is_up = false;
        self.bytes.clear();
    }
}

fn push_number(bytes: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        push_number(bytes, number / 10);
    }
    bytes.push(b'0' + (number % 10) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(outgoing: &mut Outgoing) -> String {
        let mut taken = b"old".to_vec();
        outgoing.take(&mut taken);
        String::from_utf8(taken).unwrap()
    }

    #[test]
    fn all_that_waits_is_taken_in_one_piece_and_in_order() {
        let mut outgoing = Outgoing::default();
        outgoing.up();
        outgoing.subscribe("in.box", 7);
        outgoing.publish(b"a", None, b"+ACK");
        outgoing.publish(b"b", Some(b"in.box"), b"");
        assert_eq!((outgoing.ping(), outgoing.ping()), (1, 2));
        outgoing.pong();
        outgoing.unsubscribe(7);
        let expected = "SUB in.box 7\r\nPUB a 4\r\n+ACK\r\nPUB b in.box 0\r\n\r\n\
                        PING\r\nPING\r\nPONG\r\nUNSUB 7\r\n";
        assert_eq!(taken(&mut outgoing), expected);
        assert_eq!(taken(&mut outgoing), "");
    }

    #[test]
    fn what_waits_for_a_lost_connection_is_dropped() {
        let mut outgoing = Outgoing::default();
        outgoing.up();
        outgoing.publish(b"of.the.first", None, b"");
        outgoing.down();
        outgoing.publish(b"between", None, &[b'x'; 123]);
        outgoing.up();
        assert_eq!(outgoing.connects, 2);
        assert!(taken(&mut outgoing).starts_with("PUB between 123\r\n"));
    }
}
