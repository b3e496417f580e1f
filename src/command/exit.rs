//! Exit statuses of the program.

/// Failure, with its reason on standard error.
pub const FAILED: u8 = 1;
/// Daemon that answers and cannot ingest, as init scripts say "not running"; or faulty lines.
pub const NOT_READY: u8 = 3;
/// EX_SOFTWARE of sysexits.h.
pub const DEFECT: u8 = 70;
/// EX_TEMPFAIL of sysexits.h: the next process continues, with another claims log or message size.
pub const AGAIN: u8 = 75;
/// EX_CONFIG of sysexits.h.
pub const CONFIG: u8 = 78;

/// Meaning of each status, for the reference page and the manual.
pub const MEANINGS: [(u8, &str); 8] = [
    (
        0,
        "done, also where the reader of the output ended early; `status`: ready; `check`: no fault",
    ),
    (
        FAILED,
        "failed, standard error says why; `check`: a fault; `status`: the daemon cannot be asked",
    ),
    (2, "wrong command line"),
    (
        NOT_READY,
        "`status`: not ready; `schema check`: a line has faults",
    ),
    (DEFECT, "a defect: please report it"),
    (
        AGAIN,
        "start it again: the claims log was lost and rebuilt, or NATS takes messages of another size",
    ),
    (CONFIG, "faulty configuration"),
    (130, "ended by a second signal"),
];
