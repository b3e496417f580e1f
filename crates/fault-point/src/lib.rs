//! Named places at which a test ends the process or hangs a stage. Without the feature
//! `fault-points`, which only tests turn on, they do nothing.

/// A place between two steps that a crash must not separate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "fault-points", derive(clap::ValueEnum))]
pub enum Point {
    /// A message is about to be decoded.
    Decoding,
    /// A batch is closed; none of its messages is claimed.
    BeforeClaim,
    /// The log has a claim; nothing is sent yet.
    ClaimAppended,
    /// The log has the announcement of a takeover; nothing is sent yet.
    TakeoverAnnounced,
    /// The log has a split; no part is sent yet.
    SplitAppended,
    /// The log has a settlement; no part is sent yet.
    SettledAppended,
    /// All bytes of an insert are sent; the answer has not arrived.
    InsertSent,
    /// ClickHouse has answered an insert; nothing is acked yet.
    InsertAnswered,
    /// The log says that a claim is done; nothing is acked yet.
    DoneAppended,
    /// The stream has a dead letter; the message is not acked yet.
    LetterPublished,
    /// A message is about to be acked.
    BeforeAck,
    /// A replay has its record; nothing is published yet.
    ReplayIntended,
    /// The stream has a dead letter's message again; the dead letter is not removed yet.
    ReplayPublished,
}

/// Points at which the process stops; by default none.
#[derive(Debug, Clone, Default)]
pub struct FaultPoints {
    #[cfg(feature = "fault-points")]
    armed: Option<std::sync::Arc<Armed>>,
}

impl FaultPoints {
    /// Ends the process, as a crash would, or hangs, if `point` is the armed one.
    pub async fn reached(&self, point: Point) {
        self.reached_by(point, b"").await;
    }

    /// Like [`FaultPoints::reached`], for a message with this subject.
    pub async fn reached_by(&self, point: Point, subject: &[u8]) {
        #[cfg(feature = "fault-points")]
        if let Some(armed) = &self.armed {
            armed.reached(point, subject).await;
        }
        #[cfg(not(feature = "fault-points"))]
        let _ = (point, subject);
    }
}

#[cfg(feature = "fault-points")]
pub use armed::Armed;

#[cfg(feature = "fault-points")]
mod armed {
    use std::str::FromStr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use clap::ValueEnum;

    use super::{FaultPoints, Point};

    /// A point, and the number of times that messages of any subject, or of one, may still reach
    /// it.
    #[derive(Debug)]
    pub struct Armed {
        point: Point,
        left: AtomicU64,
        subject: Option<String>,
        end: End,
    }

    /// Effect of the point.
    #[derive(Debug, Clone, Copy)]
    enum End {
        /// The process ends.
        Abort,
        /// The task waits forever.
        Hang,
        /// The task's thread waits forever.
        Block,
    }

    impl Armed {
        pub(super) async fn reached(&self, point: Point, subject: &[u8]) {
            let is_meant = self
                .subject
                .as_ref()
                .is_none_or(|only| only.as_bytes() == subject);
            let is_here = point == self.point && is_meant;
            if is_here && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                match self.end {
                    End::Abort => std::process::abort(),
                    End::Hang => std::future::pending().await,
                    End::Block => loop {
                        std::thread::park();
                    },
                }
            }
        }
    }

    /// Parses `insert-answered:3`, which ends the process when it reaches that point for the third
    /// time, or `decoding:signals.x`, which ends it at a message with that subject. `hang@decoding`
    /// makes the task wait forever, `block@decoding` its thread.
    impl FromStr for FaultPoints {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (end, text) = match text.split_once('@') {
                None => (End::Abort, text),
                Some(("hang", text)) => (End::Hang, text),
                Some(("block", text)) => (End::Block, text),
                Some((end, _)) => return Err(format!("{end} is neither hang nor block")),
            };
            let (point, when) = text.split_once(':').unwrap_or((text, "1"));
            let times = when.parse();
            let armed = Armed {
                point: Point::from_str(point, false)?,
                subject: times.is_err().then(|| when.to_owned()),
                left: AtomicU64::new(times.unwrap_or(1)),
                end,
            };
            Ok(Self {
                armed: Some(Arc::new(armed)),
            })
        }
    }
}
