//! ClickHouse: the server, its disk, the user's grants, the table and its window.

use std::time::Duration;

use option_kit::redacted_url;
use store::schema::SchemaError;
use store::{ProfileError, QueryPurpose, Store, StoreError, migrations};

use crate::conditions;
use crate::settings::Settings;

use super::report::{Area, CheckReport};
use super::room;
use super::window::shares;

/// Remedy of an error whose text has no better one.
const LOOK: &str =
    "check the state of ClickHouse, clickhouse.url, and the user (infra/clickhouse/grants.sql)";
const LIFT: &str = "ask an administrator to remove the constraints of the user's profile";
const MIGRATE: &str = "run `risksignal migrate` as a user who may alter the table";
const RAISE: &str = "raise the table's deduplication window (ALTER TABLE … MODIFY SETTING), or lower batch.max_inserts_per_second";

/// Checks ClickHouse.
pub(super) async fn check(settings: &Settings, report: &mut CheckReport) {
    let url = redacted_url(&settings.clickhouse.url);
    let store = match Store::new(&settings.clickhouse) {
        Ok(store) => store.with_tokens(settings.tokens_needed()),
        Err(error) => {
            let text = format!("{url}: {error}");
            let advice = "correct clickhouse.ca_file, clickhouse.cert_file and clickhouse.key_file";
            return unasked(report, "clickhouse_tls", text, advice);
        }
    };
    let version = match store.version().await {
        Ok(version) => version,
        Err(error) => {
            // A profile that forbids a setting forbids every query.
            let (text, advice) = match store.check_profile().await {
                Err(error @ ProfileError::Settings(_)) => (error.to_string(), LIFT),
                _ => (error.to_string(), error.advice().unwrap_or(LOOK)),
            };
            let text = format!("{url}: {text}");
            return unasked(report, "clickhouse_unusable", text, advice);
        }
    };
    let verified = store.verify().await;
    let mut tried = Trials::default();
    if !matches!(verified, Err(SchemaError::Profile(_))) {
        trials(&store, settings, verified.is_ok(), &mut tried).await;
    }
    let condition = conditions::judge_clickhouse_version(&version);
    if let Some(condition) = &condition {
        report.warning(Area::Clickhouse, condition, None);
    }
    if let Err(error @ SchemaError::Profile(_)) = &verified {
        let (text, advice) = (format!("{url}: {error}"), error.advice().unwrap_or(LOOK));
        report.error(Area::Clickhouse, "clickhouse_profile", text, advice);
    } else if !tried.of_user.is_empty() {
        for error in &tried.of_user {
            let (text, advice) = (format!("{url}: {error}"), error.advice().unwrap_or(LOOK));
            report.error(Area::Clickhouse, "clickhouse_refuses", text, advice);
        }
    } else if condition.is_none() {
        let user = &settings.clickhouse.user;
        let text = match tried.is_insert_taken {
            true => format!("{url}, ClickHouse {version}, accepts inserts of the user {user}"),
            false => format!("{url}, ClickHouse {version}"),
        };
        report.ok(Area::Clickhouse, "clickhouse_usable", text);
    }
    room::clickhouse(&store, report).await;
    if schema(&store, verified, &tried, report).await {
        // The share is in the ledger, too.
        if tried.of_user.is_empty() {
            window(&store, settings.tokens_needed(), report).await;
        }
        views(&store, report).await;
    }
}

fn unasked(report: &mut CheckReport, code: &str, text: String, advice: &str) {
    report.error(Area::Clickhouse, code, text, advice);
    let text = "not checked, since ClickHouse gave no answer";
    report.error(Area::Schema, "not_checked", text, advice);
}

/// Results of trials of the daemon's operations.
#[derive(Debug, Default)]
struct Trials {
    /// Failures of the server or of grants.
    of_user: Vec<SchemaError>,
    /// Failures of the tables.
    of_schema: Vec<SchemaError>,
    /// True if ClickHouse accepted an insert of no rows.
    is_insert_taken: bool,
}

impl Trials {
    fn add(&mut self, result: Result<(), impl Into<SchemaError>>) {
        let Err(error) = result else { return };
        let error = error.into();
        match error.concerns_schema() {
            true => self.of_schema.push(error),
            false => self.of_user.push(error),
        }
    }
}

/// Tries the daemon's operations: inserts of no rows into each table that it writes, and the
/// look-ups of rows. Another check reports a table that is missing or unfit.
async fn trials(store: &Store, settings: &Settings, does_fit: bool, tried: &mut Trials) {
    let inserted = store.probe_insert().await;
    tried.is_insert_taken = inserted.is_ok();
    if does_fit || !inserted.as_ref().is_err_and(StoreError::concerns_schema) {
        tried.add(inserted);
    }
    if !does_fit {
        return;
    }
    tried.add(store.probe_lookups().await);
    tried.add(store.probe_record().await);
    tried.add(store.longest_fence(Duration::ZERO).await.map(drop));
    if settings.clickhouse.migrate {
        tried.add(store.probe_migrations().await);
    }
    if settings.cache.url.is_some() {
        let asks = QueryPurpose::Cache(settings.clickhouse.end_timeout);
        // No wallet has this address.
        let wallets = store.wallets(&["risksignal check"], 0, 1, asks).await;
        tried.add(wallets.map(drop));
    }
}

/// Reports the table; returns true if it has no fault.
async fn schema(
    store: &Store,
    verified: Result<(), SchemaError>,
    tried: &Trials,
    report: &mut CheckReport,
) -> bool {
    match verified {
        Ok(()) => {}
        Err(SchemaError::Profile(_)) => {
            let text = "not checked, since the user lacks permissions";
            report.fault(Area::Schema, "not_checked", text, LOOK);
            return false;
        }
        Err(error) => {
            report.error(Area::Schema, "schema_unfit", error, MIGRATE);
            return false;
        }
    }
    for error in &tried.of_schema {
        report.error(Area::Schema, "schema_unfit", error, MIGRATE);
    }
    let version = match store.schema_version().await {
        Ok(Some(version)) if version > migrations::NEWEST => format!(
            "at version {version}: a newer release has migrated it, this one knows {}",
            migrations::NEWEST
        ),
        Ok(Some(version)) => format!("at version {version}"),
        Ok(None) => "not created by `risksignal migrate`".to_owned(),
        Err(error) => {
            report.error(Area::Schema, "schema_unknown", error, LOOK);
            return false;
        }
    };
    let tokens = match store.window().await {
        Ok(tokens) => tokens,
        Err(error) => {
            report.error(Area::Schema, "schema_unknown", error, LOOK);
            return false;
        }
    };
    if tried.of_schema.is_empty() {
        let text = format!(
            "{} has every column, keeps {tokens} deduplication tokens, {version}",
            store.table()
        );
        report.ok(Area::Schema, "schema_fits", text);
    }
    tried.of_schema.is_empty()
}

/// Reports the share of each claims log in the table's window, if there are several.
async fn window(store: &Store, tokens_needed: u64, report: &mut CheckReport) {
    let tokens = match store.window().await {
        Ok(tokens) => tokens,
        Err(error) => return report.error(Area::Schema, "schema_unknown", error, LOOK),
    };
    let shares = store
        .live_logs()
        .await
        .map(|logs| shares(tokens, tokens_needed, &logs));
    match shares {
        Ok(None) => {}
        Ok(Some(Ok(text))) => report.ok(Area::Schema, "window_shared", text),
        Ok(Some(Err(text))) => report.warn(Area::Window, "window_small", text, RAISE),
        Err(error) => report.error(Area::Schema, "schema_unknown", error, LOOK),
    }
}

/// Reports the materialized views that repeat rows.
async fn views(store: &Store, report: &mut CheckReport) {
    let remedy = "make the view's target keep deduplication tokens, as the text says";
    match store.repeating_views().await {
        Ok(views) => {
            for view in views {
                report.warn(Area::Views, "view_repeats", view, remedy);
            }
        }
        Err(error) => report.warn(Area::Views, "views_unknown", error, LOOK),
    }
}
