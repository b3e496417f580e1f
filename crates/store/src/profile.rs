//! Restrictions that an administrator can put on this user: limits on settings, and row policies.

use super::pinned::{self, Setting};
use super::{Store, StoreError};

/// Exceptions for a setting that a request may not set: READONLY, SETTING_CONSTRAINT_VIOLATION,
/// UNKNOWN_SETTING.
const FORBIDDEN: [u32; 3] = [164, 452, 115];

/// Reason for which the daemon cannot work as this user.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// ClickHouse failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Settings that differ from the daemon's needs.
    #[error(
        "the settings profile of clickhouse.user prevents exactly-once inserts: {}; ask an administrator to remove that constraint (ALTER SETTINGS PROFILE, or <constraints> and <readonly> in users.xml), or give the user another profile",
        .0.join("; ")
    )]
    Settings(Vec<String>),
    /// A row policy hides rows from this user, who would insert them again.
    #[error(
        "a row policy hides rows of {table} from clickhouse.user ({filter}; {names}), so present signals would be inserted again; ask an administrator to exempt the user (ALTER ROW POLICY … TO … EXCEPT, or <databases> in users.xml)"
    )]
    RowPolicy {
        /// Full name of the table.
        table: String,
        /// Condition of the rows that stay visible.
        filter: String,
        /// Names of the policies, or the grant required to see them.
        names: String,
    },
}

impl Store {
    /// Checks that the profile of this user allows each setting that the daemon needs.
    ///
    /// # Errors
    /// Returns [`ProfileError::Settings`] with every forbidden setting.
    pub async fn check_profile(&self) -> Result<(), ProfileError> {
        let select = "[toString(getSetting('readonly')), toString(getSettingOrDefault('deduplicate_insert', ''))]";
        let of_inserts: Vec<Setting> = pinned::insert_settings().collect();
        let asked = self.query_with::<Vec<String>>("read the settings of", select, "", &of_inserts);
        let found = match asked.await {
            Err(error) if error.code().is_some_and(|code| FORBIDDEN.contains(&code)) => {
                return Err(self.forbidden(error).await);
            }
            asked => asked?,
        };
        let [readonly, deduplicates] = found.as_slice() else {
            return Err(StoreError::unexpected("two settings were requested").into());
        };
        let mut faults = Vec::new();
        if readonly != "0" {
            faults.push(format!("`readonly` is {readonly}, which forbids inserts"));
        }
        // Newer servers know it; when off, it disables tokens.
        if deduplicates == "disable" {
            faults.push(
                "`deduplicate_insert` is disable, so a repeated insert repeats its rows".to_owned(),
            );
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(ProfileError::Settings(faults)),
        }
    }

    /// Tries each setting by itself, since an exception names only one.
    async fn forbidden(&self, error: StoreError) -> ProfileError {
        let mut faults = Vec::new();
        for setting in pinned::all_settings() {
            match self.allows(setting).await {
                Ok(()) => {}
                Err(error) => match error.code() {
                    Some(code) if FORBIDDEN.contains(&code) => {
                        let (name, value) = setting;
                        faults.push(format!("`{name}` must be '{value}' (code {code})"));
                    }
                    _ => return error.into(),
                },
            }
        }
        match faults.is_empty() {
            true => error.into(),
            false => ProfileError::Settings(faults),
        }
    }

    async fn allows(&self, (name, value): Setting) -> Result<(), StoreError> {
        let query = self.bare.query_raw("SELECT 1").with_setting(name, value);
        self.bounded("set a setting in", query.execute()).await
    }

    /// Checks that no row policy hides rows of the table from this user. The plan of a query shows
    /// it, which requires no grant; the plan of an empty table shows nothing. In a plan that reads
    /// a projection, the policy's filter has the name of any other filter.
    ///
    /// # Errors
    /// Returns [`ProfileError::RowPolicy`].
    pub(super) async fn check_row_policies(&self) -> Result<(), ProfileError> {
        const FILTER: &str = "Row level filter";
        let sql = format!(
            "EXPLAIN actions = 1 SELECT stream_seq FROM {} SETTINGS optimize_use_projections = 0",
            self.table()
        );
        // Without limits, since a plan of a large table could exceed one of the profile.
        let query = pinned::NO_LIMITS
            .into_iter()
            .fold(self.client.query_raw(&sql), |query, (name, value)| {
                query.with_setting(name, value)
            });
        let plan: Vec<String> = self
            .bounded("explain a query in", query.fetch_all())
            .await?;
        if !plan.iter().any(|line| line.contains("Read")) {
            return Err(StoreError::unexpected("the plan of a query reads nothing").into());
        }
        let mut filters = plan.iter().filter(|line| line.contains(FILTER));
        let Some(filter) = filters.next_back() else {
            return Ok(());
        };
        let filter = filter.trim().trim_start_matches(FILTER);
        Err(ProfileError::RowPolicy {
            table: self.table(),
            filter: filter.trim_start_matches(" column:").trim().to_owned(),
            names: self.row_policies().await,
        })
    }

    async fn row_policies(&self) -> String {
        let from = format!(
            "FROM system.row_policies WHERE database IN ('{}', '') AND table IN ('{}', '')",
            self.database, self.table
        );
        let names = self.query::<Vec<String>>("list the policies of", "groupArray(name)", &from);
        match names.await {
            Ok(names) if !names.is_empty() => format!("policies: {}", names.join(", ")),
            _ => "its name requires SHOW ROW POLICIES".to_owned(),
        }
    }
}
