//! The worlds that are explored, and for each broken rule one that shows why it is needed.

use claims::Flaw;

use crate::bounds::{Bounds, Faults};
use crate::events::Breach;

/// A world with its name.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its size.
    pub bounds: Bounds,
}

const ONE: Bounds = Bounds {
    nodes: 1,
    messages: 1,
    refused: 0,
    invalid: 0,
    rows_max: usize::MAX,
    has_views: false,
    window: 8,
    claims: 2,
    ticks: 1,
    faults: NONE,
};

const NONE: Faults = Faults {
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
    exhausted: 1,
};

const TWO: Bounds = Bounds { nodes: 2, ..ONE };

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
            "three processes, one message, two faults",
            Bounds {
                nodes: 3,
                faults: EACH,
                ..ONE
            },
        ),
    ]
}

/// A rule, and the world that shows why it is needed.
pub struct Broken {
    /// The rule of the log or the process.
    pub flaw: Option<Flaw>,
    /// The rule of the surroundings.
    pub breach: Option<Breach>,
    /// The world.
    pub bounds: Bounds,
}

/// Every rule that can be broken.
pub fn broken() -> Vec<Broken> {
    let flaw = |flaw, bounds| Broken {
        flaw: Some(flaw),
        breach: None,
        bounds,
    };
    let breach = |breach, bounds| Broken {
        flaw: None,
        breach: Some(breach),
        bounds,
    };
    let with = |faults| Bounds { faults, ..TWO };
    let refused = |faults| Bounds {
        refused: 1,
        faults,
        ..TWO
    };
    let takeover = Faults {
        any: 1,
        takeovers: 1,
        ..NONE
    };
    let crash = Faults {
        any: 1,
        crashes: 1,
        ..NONE
    };
    let both = Faults {
        any: 2,
        crashes: 1,
        takeovers: 1,
        answers: 1,
        tokens: 1,
        mends: 1,
        ..NONE
    };
    vec![
        flaw(
            Flaw::SnapshotWithoutDone,
            Bounds {
                messages: 2,
                ticks: 0,
                faults: Faults {
                    snapshots: 1,
                    ..NONE
                },
                ..TWO
            },
        ),
        flaw(Flaw::LastClaimWins, with(NONE)),
        flaw(
            Flaw::SplitsUnanswered,
            refused(Faults {
                any: 2,
                mends: 1,
                answers: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::SplitsUncounted,
            with(Faults {
                any: 1,
                views: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::SplitsAnnounced,
            refused(Faults {
                any: 2,
                takeovers: 1,
                mends: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::SendsAfterSplit,
            refused(Faults {
                any: 1,
                mends: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::OnlyTryAnnounced,
            with(Faults {
                any: 2,
                takeovers: 1,
                tokens: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::RetryUncounted,
            with(Faults {
                any: 1,
                tokens: 1,
                ..NONE
            }),
        ),
        flaw(
            Flaw::SplitsLate,
            Bounds {
                refused: 0,
                ..with(Faults {
                    any: 2,
                    answers: 1,
                    crashes: 1,
                    ..NONE
                })
            },
        ),
        breach(Breach::SendsUnread, with(NONE)),
        breach(
            Breach::SendsUnannounced,
            refused(Faults {
                any: 1,
                mends: 1,
                ..NONE
            }),
        ),
        breach(
            Breach::SendsRest,
            Bounds {
                nodes: 1,
                messages: 2,
                claims: 1,
                ticks: 0,
                ..with(Faults {
                    any: 2,
                    deletions: 1,
                    answers: 1,
                    ..NONE
                })
            },
        ),
        breach(
            Breach::RestartIsPublisher,
            Bounds {
                nodes: 1,
                ..with(both)
            },
        ),
        breach(
            Breach::OverrunsWindow,
            Bounds {
                messages: 2,
                window: 1,
                ..with(Faults {
                    any: 1,
                    answers: 1,
                    ..NONE
                })
            },
        ),
        breach(
            Breach::AcksUnlogged,
            Bounds {
                claims: 1,
                ticks: 0,
                ..with(Faults {
                    any: 2,
                    takeovers: 1,
                    tokens: 1,
                    ..NONE
                })
            },
        ),
        breach(Breach::NoFence, with(crash)),
        breach(Breach::SettlesEarly, with(takeover)),
        breach(
            Breach::SettlesSameToken,
            with(Faults {
                any: 1,
                tokens: 1,
                ..NONE
            }),
        ),
    ]
}
