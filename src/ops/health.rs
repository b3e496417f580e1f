//! Readiness of the daemon: one latch for each thing that it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use store::schema::SchemaError;
use time::OffsetDateTime;
use time::serde::rfc3339;
use tracing::{info, warn};

use crate::capacity::Warning;
use crate::ops::log_lines::DEPENDENCY_DOWN;

/// Part that ingesting depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// The daemon itself: its start is complete, and it does not stop.
    Pipeline,
    /// The connection to NATS.
    Nats,
    /// The streams and the consumer.
    Jetstream,
    /// ClickHouse takes inserts from this user.
    Clickhouse,
    /// The table fits.
    Schema,
}

/// Reasons of one outage that the log has at most.
const REASONS_MAX: usize = 8;

const ALL: [Dependency; 5] = [
    Dependency::Pipeline,
    Dependency::Nats,
    Dependency::Jetstream,
    Dependency::Clickhouse,
    Dependency::Schema,
];

impl Dependency {
    fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Nats => "nats",
            Self::Jetstream => "jetstream",
            Self::Clickhouse => "clickhouse",
            Self::Schema => "schema",
        }
    }
}

/// State of one dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// Its state.
    pub state: State,
    /// Since when it has been in this state.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// Reason for which it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// State of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not asked yet.
    Waiting,
    /// It works.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// Its name, as `/readyz` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The daemon can ingest.
    pub ready: bool,
    /// Reason for which it cannot.
    pub reason: Option<String>,
    /// Each by its name.
    pub dependencies: BTreeMap<String, Latch>,
    /// Conditions that will stop it, or publishers, if nobody acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// All latches. Ready means that all are up.
#[derive(Debug)]
pub struct Health {
    latches: Mutex<[Option<Latch>; ALL.len()]>,
    /// The stages of the pipeline that hang.
    hung: Mutex<Option<String>>,
    /// Reasons that the log has of each dependency that is down.
    logged: Mutex<[BTreeSet<String>; ALL.len()]>,
}

impl Health {
    /// Health of a process that depends on everything; nothing is known yet.
    pub fn new() -> Arc<Self> {
        Self::of(&ALL)
    }

    /// Health of a process that depends on these alone; nothing is known yet.
    pub fn of(dependencies: &[Dependency]) -> Arc<Self> {
        let since = OffsetDateTime::now_utc();
        let latches = ALL.map(|dependency| {
            let latch = Latch {
                state: State::Waiting,
                since,
                reason: Some(match dependency {
                    Dependency::Pipeline => "the start is not complete".to_owned(),
                    _ => "not asked yet".to_owned(),
                }),
            };
            dependencies.contains(&dependency).then_some(latch)
        });
        Arc::new(Self {
            latches: Mutex::new(latches),
            hung: Mutex::default(),
            logged: Mutex::default(),
        })
    }

    /// It works.
    pub fn up(&self, dependency: Dependency) {
        self.set(dependency, State::Up, None);
    }

    /// It does not work, and why. A new reason does not change since when.
    pub fn down(&self, dependency: Dependency, reason: impl Into<String>) {
        self.set(dependency, State::Down, Some(reason.into()));
    }

    /// The pipeline hangs in these stages, which only a restart mends, or `None`: it does not.
    pub fn hangs(&self, stages: Option<String>) {
        *lock(&self.hung) = stages;
    }

    /// Reason to restart the process.
    pub fn hang(&self) -> Option<String> {
        let stages = lock(&self.hung);
        Some(format!("the pipeline hangs: {}", stages.as_ref()?))
    }

    /// Takes the result of a check of the table, for ClickHouse and the schema.
    pub fn checked(&self, result: Result<(), &SchemaError>) {
        let Err(error) = result else {
            self.up(Dependency::Clickhouse);
            self.up(Dependency::Schema);
            return;
        };
        if error.concerns_schema() {
            self.up(Dependency::Clickhouse);
            self.down(Dependency::Schema, error.to_string());
        } else {
            self.down(Dependency::Clickhouse, error.to_string());
        }
    }

    fn set(&self, dependency: Dependency, state: State, reason: Option<String>) {
        let mut latches = self.lock();
        let Some(latch) = &mut latches[dependency as usize] else {
            return;
        };
        let before = latch.clone();
        if latch.state != state {
            latch.state = state;
            latch.since = OffsetDateTime::now_utc();
        }
        latch.reason = reason;
        let now = latch.clone();
        drop(latches);
        self.log(dependency, &before, &now);
    }

    /// Logs another state, and while it is down each reason once.
    fn log(&self, dependency: Dependency, before: &Latch, now: &Latch) {
        let mut all = lock(&self.logged);
        let logged = &mut all[dependency as usize];
        let is_changed = before.state != now.state;
        if is_changed {
            logged.clear();
            changed(dependency, before, now);
        }
        let Some(reason) = now.reason.as_ref().filter(|_| now.state == State::Down) else {
            return;
        };
        let is_new = logged.len() < REASONS_MAX && logged.insert(reason.clone());
        if is_new && !is_changed {
            let dependency = dependency.name();
            warn!(dependency, reason, "Dependency is down for another reason");
        }
    }

    /// Returns true when it works.
    pub fn is_up(&self, dependency: Dependency) -> bool {
        let latches = self.lock();
        let latch = latches[dependency as usize].as_ref();
        latch.is_some_and(|latch| latch.state == State::Up)
    }

    /// Returns true when the daemon can ingest.
    pub fn is_ready(&self) -> bool {
        let latches = self.lock();
        let mut asked = latches.iter().flatten();
        lock(&self.hung).is_none() && asked.all(|latch| latch.state == State::Up)
    }

    /// Reports the state of all dependencies.
    pub fn report(&self) -> Report {
        let latches = self.lock().clone();
        let named = || {
            let all = ALL.map(Dependency::name).into_iter().zip(&latches);
            all.filter_map(|(name, latch)| Some((name, latch.as_ref()?)))
        };
        let reasons: Vec<String> = named()
            .filter_map(|(name, latch)| Some(format!("{name}: {}", latch.reason.as_ref()?)))
            .chain(self.hang())
            .collect();
        Report {
            ready: reasons.is_empty(),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            dependencies: named()
                .map(|(name, latch)| (name.to_owned(), latch.clone()))
                .collect(),
            warnings: Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Latch>; ALL.len()]> {
        lock(&self.latches)
    }
}

/// Logs that a dependency is in another state.
fn changed(dependency: Dependency, before: &Latch, now: &Latch) {
    let (dependency, lasted) = (dependency.name(), now.since - before.since);
    let lasted_ms = i64::try_from(lasted.whole_milliseconds()).unwrap_or(i64::MAX);
    let was = before.state.name();
    match now.state {
        State::Up => info!(dependency, was, lasted_ms, "Dependency is up"),
        State::Waiting | State::Down => {
            let reason = now.reason.as_deref().unwrap_or_default();
            warn!(dependency, was, lasted_ms, reason, "{DEPENDENCY_DOWN}");
        }
    }
}

/// No code panics while it holds a lock; the state is whole in any case.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_without_what_it_does_not_need() {
        let health = Health::of(&[Dependency::Nats]);
        health.down(Dependency::Schema, "of no matter");
        assert!(!health.is_ready());
        health.up(Dependency::Nats);
        assert!(health.is_ready() && !health.is_up(Dependency::Schema));
        let report = health.report();
        assert_eq!(report.dependencies.len(), 1);
        assert!(report.ready);
    }

    #[test]
    fn it_is_ready_when_all_is_up_and_tells_why_not() {
        let health = Health::new();
        assert!(!health.is_ready());
        for dependency in ALL {
            assert_eq!(ALL[dependency as usize], dependency);
            health.up(dependency);
        }
        assert!(health.is_ready());
        assert_eq!(health.report().reason, None);
        health.down(Dependency::Schema, "first");
        let since = health.report().dependencies["schema"].since;
        health.down(Dependency::Schema, "second");
        let report = health.report();
        assert!(!report.ready);
        assert_eq!(report.reason.as_deref(), Some("schema: second"));
        assert_eq!(report.dependencies["schema"].since, since);
        assert_eq!(report.dependencies["nats"].state, State::Up);
        health.up(Dependency::Schema);
        health.hangs(Some("insert".to_owned()));
        assert!(!health.is_ready());
        let reason = health.report().reason;
        assert_eq!(reason.as_deref(), Some("the pipeline hangs: insert"));
        health.hangs(None);
        assert!(health.is_ready() && health.report().ready);
    }
}
