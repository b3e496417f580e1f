//! Deliberate defects of signals.

/// One defect of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// The JSON ends in the middle.
    NotJson,
    /// A byte that is invalid in UTF-8.
    NotUtf8,
    /// No `source_id`.
    SourceIdMissing,
    /// `source_id` is the empty text.
    SourceIdEmpty,
    /// `source_id` has more characters than allowed.
    SourceIdTooLong,
    /// `event_type` has more characters than allowed.
    EventTypeTooLong,
    /// `severity` is above the highest one, or negative.
    SeverityOutOfRange,
    /// `severity` is a text.
    SeverityText,
    /// `trace_id` is no UUID.
    TraceIdMalformed,
    /// `payload` is a text.
    PayloadNotObject,
    /// `event_time` is no time.
    EventTimeMalformed,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Self; 11] = [
        Self::NotJson,
        Self::NotUtf8,
        Self::SourceIdMissing,
        Self::SourceIdEmpty,
        Self::SourceIdTooLong,
        Self::EventTypeTooLong,
        Self::SeverityOutOfRange,
        Self::SeverityText,
        Self::TraceIdMalformed,
        Self::PayloadNotObject,
        Self::EventTimeMalformed,
    ];
}
