//! A world for each rule that shows its need.

use risksignal_claims::Flaw;

use crate::bounds::{Bounds, Faults, NONE, TWO};
use crate::events::Breach;

/// A rule, and the world that shows its need.
pub struct Broken {
    /// Rule of the log or the process.
    pub flaw: Option<Flaw>,
    /// Rule of the surroundings.
    pub breach: Option<Breach>,
    /// World in which the broken rule shows.
    pub bounds: Bounds,
}

/// Returns every rule that can be broken.
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
    let reopening = Faults {
        any: 1,
        reopenings: 1,
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
        flaw(
            Flaw::ClaimsUnchecked,
            with(Faults {
                any: 1,
                stream_backs: 1,
                ..NONE
            }),
        ),
        breach(
            Breach::StaysUnrewound,
            with(Faults {
                any: 1,
                stream_backs: 1,
                ..NONE
            }),
        ),
        breach(
            Breach::IgnoresDoubt,
            Bounds {
                nodes: 1,
                ..with(Faults {
                    any: 1,
                    log_backs: 1,
                    ..NONE
                })
            },
        ),
        breach(
            Breach::RebuildsEarly,
            with(Faults {
                any: 1,
                log_backs: 1,
                ..NONE
            }),
        ),
        breach(
            Breach::GoesOnUnchecked,
            refused(Faults {
                any: 2,
                log_backs: 1,
                mends: 1,
                ..NONE
            }),
        ),
        breach(
            Breach::GoesOnFirst,
            Bounds {
                ticks: 0,
                ..with(Faults {
                    any: 1,
                    log_backs: 1,
                    ..NONE
                })
            },
        ),
        breach(
            Breach::TokenByPlace,
            Bounds {
                nodes: 1,
                messages: 2,
                ..with(Faults {
                    any: 1,
                    log_backs: 1,
                    ..NONE
                })
            },
        ),
        flaw(
            Flaw::UnfitUncounted,
            Bounds {
                unfit: 1,
                ..with(crash)
            },
        ),
        flaw(
            Flaw::BlamesAnyRow,
            Bounds {
                refuses_all: true,
                ..with(Faults {
                    any: 1,
                    answers: 1,
                    ..NONE
                })
            },
        ),
        flaw(
            Flaw::KeepsSlowWhole,
            Bounds {
                nodes: 1,
                messages: 2,
                rows_max: 1,
                is_silent: true,
                ..with(NONE)
            },
        ),
        breach(Breach::ReopensEarly, with(reopening)),
        flaw(
            Flaw::ReopensDoneAlone,
            Bounds {
                nodes: 1,
                claims: 1,
                ..with(Faults {
                    any: 1,
                    restores: 1,
                    ..NONE
                })
            },
        ),
        breach(
            Breach::ForeignByReader,
            with(Faults {
                any: 1,
                intrusions: 1,
                ..NONE
            }),
        ),
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
