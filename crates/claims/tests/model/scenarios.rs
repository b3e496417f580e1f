//! The worlds in which every property must hold.

use crate::bounds::{Bounds, Faults};

/// A world with its name.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bounds: Bounds,
}

/// One process and one message, and nothing goes wrong.
pub const ONE: Bounds = Bounds {
    nodes: 1,
    messages: 1,
    refused: 0,
    invalid: 0,
    rows_max: usize::MAX,
    has_views: false,
    connects: false,
    window: 8,
    claims: 2,
    ticks: 1,
    faults: NONE,
};

/// No faults.
pub const NONE: Faults = Faults {
    any: 0,
    crashes: 0,
    answers: 0,
    repeats: 0,
    tokens: 0,
    takeovers: 0,
    snapshots: 0,
    deletions: 0,
    mends: 0,
    views: 0,
    log_backs: 0,
    stream_backs: 0,
    exhausted: 0,
};

/// Every fault, each once.
const EACH: Faults = Faults {
    any: 2,
    crashes: 1,
    answers: 1,
    repeats: 1,
    tokens: 1,
    takeovers: 1,
    snapshots: 1,
    deletions: 1,
    mends: 1,
    views: 1,
    log_backs: 0,
    stream_backs: 0,
    exhausted: 1,
};

/// A log that loses records, and one more fault.
const BACK: Faults = Faults {
    any: 2,
    log_backs: 1,
    deletions: 0,
    exhausted: 0,
    views: 0,
    ..EACH
};

/// A stream that goes back, and one more fault.
const STREAM_BACK: Faults = Faults {
    log_backs: 0,
    stream_backs: 1,
    ..BACK
};

/// Two processes.
pub const TWO: Bounds = Bounds { nodes: 2, ..ONE };

/// The worlds in which every property must hold.
pub fn sound() -> Vec<Scenario> {
    let scenario = |name, bounds| Scenario { name, bounds };
    vec![
        scenario(
            "one process, one message, one crash",
            Bounds {
                claims: 1,
                faults: Faults {
                    any: 1,
                    crashes: 1,
                    ..NONE
                },
                ..ONE
            },
        ),
        scenario(
            "one process, one refused message, a lost answer",
            Bounds {
                refused: 1,
                claims: 1,
                faults: Faults {
                    any: 1,
                    answers: 1,
                    ..NONE
                },
                ..ONE
            },
        ),
        scenario(
            "two processes, one message, no fault",
            Bounds {
                claims: 2,
                ticks: 0,
                ..TWO
            },
        ),
        scenario(
            "one process, one message, two faults",
            Bounds {
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "one process, one refused message, two faults",
            Bounds {
                refused: 1,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "one process, two messages, one refused, two faults",
            Bounds {
                messages: 2,
                refused: 0b10,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "one process, two messages, one invalid, two faults",
            Bounds {
                messages: 2,
                invalid: 0b10,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "one process, two messages that are too large together, two faults",
            Bounds {
                messages: 2,
                rows_max: 1,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "one process, one message, views, two faults",
            Bounds {
                has_views: true,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "two processes, two messages that are too large together, two faults",
            Bounds {
                messages: 2,
                rows_max: 1,
                faults: EACH,
                ..TWO
            },
        ),
        scenario(
            "two processes, one message, two faults",
            Bounds {
                faults: EACH,
                ..TWO
            },
        ),
        scenario(
            "two processes, one refused message, two faults",
            Bounds {
                refused: 1,
                faults: EACH,
                ..TWO
            },
        ),
        scenario(
            "two processes, two messages, one refused, two faults",
            Bounds {
                messages: 2,
                refused: 0b10,
                faults: EACH,
                ..TWO
            },
        ),
        scenario(
            "two processes, one message, a window of four, three faults",
            Bounds {
                window: 4,
                ticks: 2,
                faults: Faults { any: 3, ..EACH },
                ..TWO
            },
        ),
        scenario(
            "two processes that connect, one message, two faults",
            Bounds {
                connects: true,
                faults: EACH,
                ..TWO
            },
        ),
        scenario(
            "one process, one message, a log that loses records",
            Bounds {
                faults: BACK,
                ..ONE
            },
        ),
        scenario(
            "one process, one refused message, a log that loses records",
            Bounds {
                refused: 1,
                faults: BACK,
                ..ONE
            },
        ),
        scenario(
            "two processes, one message, a log that loses records",
            Bounds {
                faults: BACK,
                ..TWO
            },
        ),
        scenario(
            "two processes, two messages, one refused, a log that loses records",
            Bounds {
                messages: 2,
                refused: 0b10,
                faults: BACK,
                ..TWO
            },
        ),
        scenario(
            "one process, two messages, a stream that goes back",
            Bounds {
                messages: 2,
                faults: STREAM_BACK,
                ..ONE
            },
        ),
        scenario(
            "one process, two messages, one invalid, a stream that goes back",
            Bounds {
                messages: 2,
                invalid: 0b10,
                faults: STREAM_BACK,
                ..ONE
            },
        ),
        scenario(
            "two processes, one message, a stream that goes back",
            Bounds {
                faults: STREAM_BACK,
                ..TWO
            },
        ),
        scenario(
            "two processes, two messages, a stream that goes back",
            Bounds {
                messages: 2,
                faults: STREAM_BACK,
                ..TWO
            },
        ),
        scenario(
            "one process, two messages, a log and a stream that go back",
            Bounds {
                messages: 2,
                faults: Faults {
                    log_backs: 1,
                    ..STREAM_BACK
                },
                ..ONE
            },
        ),
        scenario(
            "three processes, one message, two faults",
            Bounds {
                nodes: 3,
                faults: EACH,
                ..ONE
            },
        ),
    ]
}
