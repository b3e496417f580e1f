//! Error codes of ClickHouse. Its error text may quote values of signals, so public messages use
//! the code's name and the advice from here.

/// Error code for a query without a grant.
pub(super) const ACCESS_DENIED: u32 = 497;

/// Error code for a query whose id belongs to a running one.
pub(super) const RUNS_ALREADY: u32 = 216;

/// Remedy for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Wait: the server is down, slow or overloaded. The daemon sends the same bytes again.
    Wait,
    /// Operator action: credentials, grants, the table or its columns are wrong. Pulling stops
    /// until an insert succeeds again.
    Halt,
    /// Leaving rows out: ClickHouse rejects one or more values. Bisecting finds them.
    Bisect,
    /// Settling the claim: the block arrived outside its fence.
    Late,
    /// Smaller blocks: ClickHouse lacks the memory or the time for the whole block.
    Halve,
}

impl Remedy {
    /// Names of all remedies, for metrics.
    pub const NAMES: [&str; 5] = [
        Self::Wait.name(),
        Self::Halt.name(),
        Self::Bisect.name(),
        Self::Late.name(),
        Self::Halve.name(),
    ];

    /// Its name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Halt => "halt",
            Self::Bisect => "bisect",
            Self::Late => "late",
            Self::Halve => "halve",
        }
    }
}

/// A known error code.
pub(super) struct Code {
    number: u32,
    /// Name of the code in ClickHouse.
    pub name: &'static str,
    /// The remedy.
    pub remedy: Remedy,
    /// Advice; empty if only ClickHouse's text has it.
    pub advice: &'static str,
}

/// Finds a code.
pub(super) fn find(number: u32) -> Option<&'static Code> {
    CODES.iter().find(|code| code.number == number)
}

/// Reports whether the code blames the table, its columns or the database.
pub(super) fn concerns_schema(number: u32) -> bool {
    SCHEMA.contains(&number)
}

const fn code(number: u32, name: &'static str, remedy: Remedy, advice: &'static str) -> Code {
    Code {
        number,
        name,
        remedy,
        advice,
    }
}

const SCHEMA: [u32; 5] = [10, 16, 47, 60, 81];

const LOGIN: &str = "check clickhouse.user and clickhouse.password";
const COLUMNS: &str = "the table lacks a column: compare it with crates/store/src/migrations, or run `risksignal check`";
const READONLY: &str =
    "the user may not write, or not use the daemon's settings: check its settings profile";
const DISK: &str = "make room on ClickHouse's disk";

/// `Halt`: waiting does not help. `Halve`: a smaller batch may avoid it. `Bisect`: a value of a row
/// may cause it, through a constraint, a column's type or a materialized view. If the table itself
/// is at fault, the daemon's check finds that before it leaves out a row. Every other code, known
/// or not, waits.
#[rustfmt::skip]
const CODES: [Code; 50] = [
    code(10, "NOT_FOUND_COLUMN_IN_BLOCK", Remedy::Halt, COLUMNS),
    code(16, "NO_SUCH_COLUMN_IN_TABLE", Remedy::Halt, COLUMNS),
    code(36, "BAD_ARGUMENTS", Remedy::Halt, ""),
    code(46, "UNKNOWN_FUNCTION", Remedy::Halt, ""),
    code(47, "UNKNOWN_IDENTIFIER", Remedy::Halt, COLUMNS),
    code(60, "UNKNOWN_TABLE", Remedy::Halt, "a table is missing: check clickhouse.table; `risksignal migrate` creates it"),
    code(62, "SYNTAX_ERROR", Remedy::Halt, ""),
    code(81, "UNKNOWN_DATABASE", Remedy::Halt, "check clickhouse.database; `risksignal migrate` creates it"),
    code(115, "UNKNOWN_SETTING", Remedy::Halt, "ClickHouse is too old, or a proxy changes the request's settings"),
    code(164, "READONLY", Remedy::Halt, READONLY),
    code(192, "UNKNOWN_USER", Remedy::Halt, LOGIN),
    code(193, "WRONG_PASSWORD", Remedy::Halt, LOGIN),
    code(194, "REQUIRED_PASSWORD", Remedy::Halt, LOGIN),
    code(452, "SETTING_CONSTRAINT_VIOLATION", Remedy::Halt, READONLY),
    code(497, "ACCESS_DENIED", Remedy::Halt, "check the grants of clickhouse.user (infra/clickhouse/grants.sql)"),
    code(516, "AUTHENTICATION_FAILED", Remedy::Halt, LOGIN),

    code(159, "TIMEOUT_EXCEEDED", Remedy::Halve, "it had too little time"),
    code(241, "MEMORY_LIMIT_EXCEEDED", Remedy::Halve, "it has too little memory"),

    code(6, "CANNOT_PARSE_TEXT", Remedy::Bisect, ""),
    code(26, "CANNOT_PARSE_QUOTED_STRING", Remedy::Bisect, ""),
    code(27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Remedy::Bisect, ""),
    code(38, "CANNOT_PARSE_DATE", Remedy::Bisect, ""),
    code(41, "CANNOT_PARSE_DATETIME", Remedy::Bisect, ""),
    code(53, "TYPE_MISMATCH", Remedy::Bisect, ""),
    code(69, "ARGUMENT_OUT_OF_BOUND", Remedy::Bisect, ""),
    code(70, "CANNOT_CONVERT_TYPE", Remedy::Bisect, ""),
    code(72, "CANNOT_PARSE_NUMBER", Remedy::Bisect, ""),
    code(117, "INCORRECT_DATA", Remedy::Bisect, ""),
    code(131, "TOO_LARGE_STRING_SIZE", Remedy::Bisect, ""),
    code(321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", Remedy::Bisect, ""),
    code(349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", Remedy::Bisect, ""),
    code(376, "CANNOT_PARSE_UUID", Remedy::Bisect, ""),
    code(395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", Remedy::Bisect, ""),
    code(407, "DECIMAL_OVERFLOW", Remedy::Bisect, ""),
    code(469, "VIOLATED_CONSTRAINT", Remedy::Bisect, ""),

    code(74, "CANNOT_READ_FROM_FILE_DESCRIPTOR", Remedy::Wait, ""),
    code(75, "CANNOT_WRITE_TO_FILE_DESCRIPTOR", Remedy::Wait, DISK),
    code(202, "TOO_MANY_SIMULTANEOUS_QUERIES", Remedy::Wait, "ClickHouse is overloaded"),
    code(209, "SOCKET_TIMEOUT", Remedy::Wait, ""),
    code(210, "NETWORK_ERROR", Remedy::Wait, ""),
    code(RUNS_ALREADY, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", Remedy::Wait, "a proxy sends a request again while ClickHouse still runs it: switch off its retries of inserts"),
    code(242, "TABLE_IS_READ_ONLY", Remedy::Wait, "the replica has no connection to Keeper"),
    code(243, "NOT_ENOUGH_SPACE", Remedy::Wait, DISK),
    code(252, "TOO_MANY_PARTS", Remedy::Wait, "merges do not keep up: lower batch.max_inserts_per_second"),
    code(285, "TOO_FEW_LIVE_REPLICAS", Remedy::Wait, "too few replicas are up"),
    code(319, "UNKNOWN_STATUS_OF_INSERT", Remedy::Wait, ""),
    code(394, "QUERY_WAS_CANCELLED", Remedy::Wait, ""),
    code(999, "KEEPER_EXCEPTION", Remedy::Wait, "check Keeper"),
    code(1001, "STD_EXCEPTION", Remedy::Wait, ""),
    code(1002, "UNKNOWN_EXCEPTION", Remedy::Wait, ""),
];
