//! Settings that requests carry, so that no profile of the user changes their meaning.
//!
//! Values have the form of `getSetting`: an answer names the settings that it used. The oldest
//! supported ClickHouse knows all of them; a server rejects an unknown setting.
//!
//! Each of the 1,721 settings of ClickHouse 26.7 was set to 0, 1, 2, 1000 or each of its words,
//! with all overflow modes `throw` and then `break`. Those below changed the answer of a look-up
//! without an error; with these lists none did.

use uuid::Uuid;

use super::pins::ALWAYS;

/// Name and value.
pub(super) type Setting = (&'static str, &'static str);

/// Settings of every request: no answer lacks rows without an error.
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
    // A view whose target keeps tokens then drops a repeated block, as the table does. Off by
    // default in older servers.
    ("deduplicate_blocks_in_dependent_materialized_views", "true"),
];

/// Further settings of the daemon's own queries: the user's limits, which raise errors now, do not
/// stop them. Queries of clients keep those limits.
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

/// Settings that an insert sets for its own block, with sample values.
const PER_BLOCK: [Setting; 4] = [
    ("insert_deduplication_token", "-"),
    ("max_execution_time", "30"),
    ("max_insert_block_size", "1048576"),
    ("materialize_skip_indexes_on_insert", "0"),
];

/// Returns the further settings of an insert, for the check that the profile allows them.
pub(super) fn insert_settings() -> impl Iterator<Item = Setting> {
    let is_other = |(name, _): &Setting| pinned().all(|(pinned, _)| pinned != *name);
    ALWAYS.into_iter().chain(PER_BLOCK).filter(is_other)
}

/// A setting without effect. Each query sends another value, which no default can equal, so the
/// answer shows that its own request's settings applied.
const WITNESS: &str = "log_comment";

/// Identifies the answer to one query, and names its settings. An answer that a proxy cached from
/// another query, or whose settings were lost in transit, does not count.
#[derive(Debug)]
pub(super) struct QueryMark(Uuid);

/// Reason for which an answer does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MarkError {
    /// The answer belongs to another query, or was cut.
    Foreign,
    /// A setting did not apply.
    Setting(String),
}

impl QueryMark {
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// Returns the setting to send with the query.
    pub fn setting(&self) -> (&'static str, String) {
        (WITNESS, self.0.to_string())
    }

    /// Returns the expression to select, a `String`.
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

    /// Compares the expression's result.
    pub fn check(&self, found: &str) -> Result<(), MarkError> {
        let mut found = found.split('\n');
        let own = self.0.to_string();
        if found.next() != Some(own.as_str()) {
            return Err(MarkError::Foreign);
        }
        let expected = std::iter::once((WITNESS, own.clone()));
        for (name, value) in expected.chain(pinned().map(|(name, value)| (name, value.to_owned())))
        {
            match found.next() {
                Some(found) if found == value => {}
                Some(found) => {
                    return Err(MarkError::Setting(format!(
                        "`{name}` was '{found}' and not '{value}'"
                    )));
                }
                None => return Err(MarkError::Foreign),
            }
        }
        match found.next() {
            None => Ok(()),
            Some(_) => Err(MarkError::Foreign),
        }
    }
}

/// Returns every setting that a request of the daemon may carry, with a sample value.
pub(super) fn all_settings() -> impl Iterator<Item = Setting> {
    let witness = std::iter::once((WITNESS, "risksignal"));
    pinned().chain(insert_settings()).chain(witness)
}

fn pinned() -> impl Iterator<Item = Setting> {
    MEANING.into_iter().chain(NO_LIMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mark: &QueryMark, of: impl Fn(Setting) -> String) -> String {
        let settings: Vec<String> = pinned().map(of).collect();
        format!("{0}\n{0}\n{1}", mark.0, settings.join("\n"))
    }

    #[test]
    fn only_the_answer_to_this_query_with_these_settings_counts() {
        let mark = QueryMark::new();
        let whole = answer(&mark, |(_, value)| value.to_owned());
        assert_eq!(mark.check(&whole), Ok(()));
        assert_eq!(QueryMark::new().check(&whole), Err(MarkError::Foreign));
        assert_eq!(mark.check(&mark.0.to_string()), Err(MarkError::Foreign));
        assert_eq!(mark.check(&format!("{whole}\n0")), Err(MarkError::Foreign));
        let cut = answer(&mark, |(name, value)| match name {
            "limit" => "20".to_owned(),
            _ => value.to_owned(),
        });
        let fault = "`limit` was '20' and not '0'".to_owned();
        assert_eq!(mark.check(&cut), Err(MarkError::Setting(fault)));
        let dropped = whole.replacen(&format!("\n{}\n", mark.0), "\n\n", 1);
        let fault = format!("`log_comment` was '' and not '{}'", mark.0);
        assert_eq!(mark.check(&dropped), Err(MarkError::Setting(fault)));
    }

    #[test]
    fn no_setting_is_listed_twice() {
        let mut names: Vec<&str> = all_settings().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
