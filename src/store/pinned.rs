//! Settings that requests carry, so that no profile of the user changes their meaning.
//!
//! Values are spelled as `getSetting` gives them back: an answer names the settings that it was made
//! with. All are known to the oldest ClickHouse that the daemon works with, which refuses a setting that
//! it does not know.
//!
//! Of the 1,721 settings of ClickHouse 26.7, each set to 0, 1, 2, 1000 or each of its words, with all
//! overflow modes `throw` and then `break`, those below are the ones that changed the answer of a look-up
//! without an error; with these lists none did.

use uuid::Uuid;

use super::pins::ALWAYS;

/// Name and value.
pub(super) type Setting = (&'static str, &'static str);

/// What every request carries: nothing is left out of an answer without an error.
pub(super) const MEANING: [Setting; 22] = [
    ("additional_table_filters", "{}"),
    ("additional_result_filter", ""),
    ("limit", "0"),
    ("offset", "0"),
    ("extremes", "false"),
    ("final", "false"),
    ("use_query_cache", "false"),
    ("apply_deleted_mask", "true"),
    ("aggregate_functions_null_for_empty", "false"),
    ("empty_result_for_aggregation_by_empty_set", "false"),
    ("read_overflow_mode", "throw"),
    ("read_overflow_mode_leaf", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("sort_overflow_mode", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("timeout_overflow_mode_leaf", "throw"),
    ("set_overflow_mode", "throw"),
    ("join_overflow_mode", "throw"),
    ("transfer_overflow_mode", "throw"),
    ("distinct_overflow_mode", "throw"),
    // A view whose target keeps tokens drops a repeated block, as the table does. Off by default in
    // older servers.
    ("deduplicate_blocks_in_dependent_materialized_views", "true"),
];

/// What the daemon's own questions carry besides: its user's limits, which are errors now, do not stop
/// them. What clients ask for keeps to those limits.
pub(super) const NO_LIMITS: [Setting; 9] = [
    ("max_rows_to_read", "0"),
    ("max_bytes_to_read", "0"),
    ("max_rows_to_read_leaf", "0"),
    ("max_bytes_to_read_leaf", "0"),
    ("max_result_rows", "0"),
    ("max_result_bytes", "0"),
    ("max_rows_in_set", "0"),
    ("max_bytes_in_set", "0"),
    ("max_rows_to_group_by", "0"),
];

/// What an insert sets for its very block, with values that stand for any.
const PER_BLOCK: [Setting; 4] = [
    ("insert_deduplication_token", "-"),
    ("max_execution_time", "30"),
    ("max_insert_block_size", "1048576"),
    ("materialize_skip_indexes_on_insert", "0"),
];

/// What an insert sets besides, for the check that the profile lets it.
pub(super) fn of_inserts() -> impl Iterator<Item = Setting> {
    let is_other = |(name, _): &Setting| pinned().all(|(pinned, _)| pinned != *name);
    ALWAYS.into_iter().chain(PER_BLOCK).filter(is_other)
}

/// A setting without effect. Each query sends another value, which no default can equal, so that the answer
/// shows that the settings of its own request were in force.
const WITNESS: &str = "log_comment";

/// Identifies the answer to one query, and names the settings that it ran with. What a proxy kept
/// of another query, and the answer to a query whose settings were dropped on the way, do not count.
#[derive(Debug)]
pub(super) struct Mark(Uuid);

/// Why an answer does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// It belongs to another query, or was cut.
    Foreign,
    /// A setting was not in force.
    Setting(String),
}

impl Mark {
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The setting that goes with the query.
    pub fn setting(&self) -> (&'static str, String) {
        (WITNESS, self.0.to_string())
    }

    /// The expression, a `String`.
    pub fn sql(&self) -> String {
        let settings: Vec<String> = std::iter::once(WITNESS)
            .chain(pinned().map(|(name, _)| name))
            .map(|name| format!("toString(getSetting('{name}'))"))
            .collect();
        format!(
            "arrayStringConcat(['{}', {}], '\\n')",
            self.0,
            settings.join(", ")
        )
    }

    /// Compares what the expression gave.
    pub fn check(&self, found: &str) -> Result<(), Unproven> {
        let mut found = found.split('\n');
        let own = self.0.to_string();
        if found.next() != Some(own.as_str()) {
            return Err(Unproven::Foreign);
        }
        let expected = std::iter::once((WITNESS, own.clone()));
        for (name, value) in expected.chain(pinned().map(|(name, value)| (name, value.to_owned())))
        {
            match found.next() {
                Some(found) if found == value => {}
                Some(found) => {
                    return Err(Unproven::Setting(format!(
                        "`{name}` was '{found}' and not '{value}'"
                    )));
                }
                None => return Err(Unproven::Foreign),
            }
        }
        match found.next() {
            None => Ok(()),
            Some(_) => Err(Unproven::Foreign),
        }
    }
}

/// Every setting that a request of the daemon may carry, with a value that it has then.
pub(super) fn all() -> impl Iterator<Item = Setting> {
    let witness = std::iter::once((WITNESS, "risksignal"));
    pinned().chain(of_inserts()).chain(witness)
}

fn pinned() -> impl Iterator<Item = Setting> {
    MEANING.into_iter().chain(NO_LIMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mark: &Mark, of: impl Fn(Setting) -> String) -> String {
        let settings: Vec<String> = pinned().map(of).collect();
        format!("{0}\n{0}\n{1}", mark.0, settings.join("\n"))
    }

    #[test]
    fn only_the_answer_to_this_query_with_these_settings_counts() {
        let mark = Mark::new();
        let whole = answer(&mark, |(_, value)| value.to_owned());
        assert_eq!(mark.check(&whole), Ok(()));
        assert_eq!(Mark::new().check(&whole), Err(Unproven::Foreign));
        assert_eq!(mark.check(&mark.0.to_string()), Err(Unproven::Foreign));
        assert_eq!(mark.check(&format!("{whole}\n0")), Err(Unproven::Foreign));
        let cut = answer(&mark, |(name, value)| match name {
            "limit" => "20".to_owned(),
            _ => value.to_owned(),
        });
        let told = "`limit` was '20' and not '0'".to_owned();
        assert_eq!(mark.check(&cut), Err(Unproven::Setting(told)));
        let dropped = whole.replacen(&format!("\n{}\n", mark.0), "\n\n", 1);
        let told = format!("`log_comment` was '' and not '{}'", mark.0);
        assert_eq!(mark.check(&dropped), Err(Unproven::Setting(told)));
    }

    #[test]
    fn no_setting_is_listed_twice() {
        let mut names: Vec<&str> = all().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
