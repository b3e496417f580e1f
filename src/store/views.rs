//! Views with the fields of each kind of event in columns. They are read from the table of
//! signals when they are asked, so that they cost an insert nothing, and have each signal as
//! often as the table does: once. A materialized view would be filled by a second insert after
//! the first; when that fails, the look-up finds the rows in the table and sends none again.

use super::Store;

/// The table's name by default, whose views have no prefix.
const USUAL_TABLE: &str = "raw_signals";

/// Each view's name, and its statement with places for the names and the payload.
const VIEWS: [(&str, &str); 3] = [
    ("transactions", include_str!("views/transactions.sql")),
    ("risk_events", include_str!("views/risk_events.sql")),
    (
        "wallet_snapshots",
        include_str!("views/wallet_snapshots.sql"),
    ),
];

/// The payload as ClickHouse's JSON functions can read it. Their parser refuses the whole of a
/// text with an integer beyond 64 bits, so in such a text those become strings, digit by digit.
const READABLE_PAYLOAD: &str = include_str!("views/readable_payload.sql");

impl Store {
    /// The statements that create the views.
    pub(super) fn views(&self) -> Vec<String> {
        let prefix = match self.table.as_str() {
            USUAL_TABLE => String::new(),
            table => format!("{table}_"),
        };
        VIEWS
            .iter()
            .map(|(name, statement)| {
                statement
                    .trim_end()
                    .replace("{view}", &format!("{}.{prefix}{name}", self.database))
                    .replace("{table}", &self.table())
                    .replace("{payload}", READABLE_PAYLOAD.trim_end())
            })
            .collect()
    }
}
