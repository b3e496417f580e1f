//! Named places where a test ends the process, or hangs a stage, exactly there. Without the feature
//! `fault-points`, which only tests turn on, all of it is empty.

/// A place between two steps that a crash must not tear apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "fault-points", derive(clap::ValueEnum))]
pub enum Point {
    /// A message is about to be decoded.
    Decoding,
    /// A batch is closed, nothing of it is claimed.
    BeforeClaim,
    /// The log has a claim, nothing of it is sent.
    ClaimAppended,
    /// The log has the announcement of a takeover, nothing is sent.
    TakeoverAnnounced,
    /// The log has a split, nothing of its parts is sent.
    SplitAppended,
    /// The log has a settlement, nothing of its parts is sent.
    SettledAppended,
    /// All bytes of an insert are sent, the answer has not come.
    InsertSent,
    /// ClickHouse has answered an insert, nothing is acked.
    InsertAnswered,
    /// The log says that a claim is done, nothing is acked.
    DoneAppended,
    /// The stream has a dead letter, the message is not acked.
    LetterPublished,
    /// A message is about to be acked.
    BeforeAck,
    /// A replay has its record, nothing is published.
    ReplayIntended,
    /// The stream has a letter's message again, the letter is not removed.
    ReplayPublished,
}

/// Where to stop the process; by default nowhere.
#[derive(Debug, Clone, Default)]
pub struct FaultPoints {
    #[cfg(feature = "fault-points")]
    armed: Option<std::sync::Arc<Armed>>,
}

impl FaultPoints {
    /// When this is the armed point: ends the process, as a crash would, or goes no further.
    pub async fn reached(&self, point: Point) {
        self.reached_by(point, "").await;
    }

    /// As [`FaultPoints::reached`], by a message with this subject.
    pub async fn reached_by(&self, point: Point, subject: &str) {
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

    /// A point, and how often it may still be reached, by messages of any subject or of one.
    #[derive(Debug)]
    pub struct Armed {
        point: Point,
        left: AtomicU64,
        subject: Option<String>,
        end: End,
    }

    /// What happens at the point.
    #[derive(Debug, Clone, Copy)]
    enum End {
        /// The process ends.
        Abort,
        /// The task waits for ever.
        Hang,
        /// The task's thread waits for ever.
        Block,
    }

    impl Armed {
        pub(super) async fn reached(&self, point: Point, subject: &str) {
            let is_meant = self.subject.as_ref().is_none_or(|only| only == subject);
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

    /// `insert-answered:3` ends the process when that point is reached for the third time,
    /// `decoding:signals.x` when a message with that subject comes to it; `hang@decoding`
    /// has its task wait for ever, `block@decoding` its thread.
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
