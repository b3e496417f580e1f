//! Worlds in which every property must hold.

use crate::bounds::{
    AT_FAULT, BACK, Bounds, EACH, Faults, NONE, ONE, STREAM_BACK, TABLE_BACK, TWO, UNFIT,
};

/// A world with its name.
pub struct Scenario {
    /// Name of the world.
    pub name: &'static str,
    /// Size of the world.
    pub bounds: Bounds,
}

/// Returns the worlds in which every property must hold.
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
            "one process, one message, a table that goes back",
            Bounds {
                faults: TABLE_BACK,
                ..ONE
            },
        ),
        scenario(
            "one process, one refused message, a table that goes back",
            Bounds {
                refused: 1,
                faults: TABLE_BACK,
                ..ONE
            },
        ),
        scenario(
            "two processes, one message, a table that goes back",
            Bounds {
                faults: TABLE_BACK,
                ..TWO
            },
        ),
        scenario(
            "one process, two messages, a table that goes back",
            Bounds {
                messages: 2,
                faults: TABLE_BACK,
                ..ONE
            },
        ),
        scenario(
            "two processes of two versions, one message, two faults",
            Bounds {
                unfit: 1,
                faults: UNFIT,
                ..TWO
            },
        ),
        scenario(
            "two processes of two versions, two messages, two faults",
            Bounds {
                messages: 2,
                unfit: 0b10,
                faults: UNFIT,
                ..TWO
            },
        ),
        scenario(
            "one process, one message, a table that refuses every row, two faults",
            Bounds {
                refuses_all: true,
                faults: AT_FAULT,
                ..ONE
            },
        ),
        scenario(
            "two processes, two messages, a table that refuses every row, two faults",
            Bounds {
                messages: 2,
                refuses_all: true,
                faults: AT_FAULT,
                ..TWO
            },
        ),
        scenario(
            "one process, two messages that are too slow together, two faults",
            Bounds {
                messages: 2,
                rows_max: 1,
                is_silent: true,
                faults: EACH,
                ..ONE
            },
        ),
        scenario(
            "two processes, two messages that are too slow together, two faults",
            Bounds {
                messages: 2,
                rows_max: 1,
                is_silent: true,
                faults: EACH,
                ..TWO
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
