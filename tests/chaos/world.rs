//! The servers, the daemons and the links between them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::harness::clickhouse::{self, ClickHouse};
use crate::harness::nats::{Nats, Options};
use crate::harness::process::{Process, free_port};

use super::journal::Journal;
use super::proxy::{Protocol, Proxy, Weather};
use super::signals::SIGNAL_BYTES_MAX;

/// Places for daemons; in each one daemon after the other lives.
pub const PLACES: usize = 3;

pub struct World {
    pub dir: PathBuf,
    pub journal: Arc<Journal>,
    /// One server, or the nodes of a cluster.
    pub nats: Vec<Nats>,
    pub clickhouse: ClickHouse,
    pub places: Vec<Place>,
    /// Of every daemon, on top of its servers' addresses.
    settings: Vec<(&'static str, &'static str)>,
}

/// A place for a daemon, with its own ways to the servers.
pub struct Place {
    number: usize,
    pub to_clickhouse: Proxy,
    /// None in a cluster, where clients learn the nodes' own addresses.
    pub to_nats: Option<Proxy>,
    daemon: RefCell<Option<Process>>,
    starts: Cell<usize>,
}

impl World {
    pub async fn set_up(
        dir: &Path,
        nodes: usize,
        settings: &[(&'static str, &'static str)],
        journal: &Arc<Journal>,
    ) -> Result<Self> {
        let nats = if nodes == 1 {
            vec![Nats::spawn(dir.join("nats"), Options::default())]
        } else {
            cluster(dir, nodes)?
        };
        let clickhouse = ClickHouse::spawn(dir.join("clickhouse"), &[]);
        for node in &nats {
            node.ready().await;
        }
        clickhouse.ready().await;
        let mut places = Vec::new();
        for number in 0..PLACES {
            let to_nats = if let [only] = nats.as_slice() {
                Some(Proxy::start(Protocol::Raw, only.port(), journal).await?)
            } else {
                None
            };
            places.push(Place {
                number,
                to_clickhouse: Proxy::start(Protocol::Http, clickhouse.port(), journal).await?,
                to_nats,
                daemon: RefCell::new(None),
                starts: Cell::new(0),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            journal: Arc::clone(journal),
            nats,
            clickhouse,
            places,
            settings: [&SETTINGS, settings].concat(),
        })
    }

    /// The NATS servers' own addresses.
    pub fn nats_urls(&self) -> String {
        let urls: Vec<String> = self.nats.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// Starts a daemon in a place that has none.
    pub fn start_daemon(&self, place: &Place) {
        self.start(place, &["run"]);
    }

    /// As [`World::start_daemon`], but the daemon ends itself at a fault point.
    pub fn start_doomed_daemon(&self, place: &Place, fault_point: &str) {
        self.start(place, &["run", "--fault-point", fault_point]);
    }

    fn start(&self, place: &Place, arguments: &[&str]) {
        let start = place.starts.get() + 1;
        place.starts.set(start);
        let log = self
            .dir
            .join(format!("daemon-{}-{start:03}.log", place.number));
        let mut command = dies_with_parent(env!("CARGO_BIN_EXE_risksignal"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment(place))
            .current_dir(&self.dir);
        let daemon = Process::spawn(command, &log);
        self.journal.note(&format!(
            "{} starts, pid {}: {}",
            place.name(),
            daemon.pid(),
            arguments.join(" ")
        ));
        place.daemon.replace(Some(daemon));
    }

    fn environment(&self, place: &Place) -> Vec<(String, String)> {
        let nats = match &place.to_nats {
            Some(proxy) => format!("nats://127.0.0.1:{}", proxy.port()),
            None => self.nats_urls(),
        };
        let clickhouse = format!("http://127.0.0.1:{}", place.to_clickhouse.port());
        let replicas = self.nats.len().to_string();
        let signal_bytes_max = format!("{SIGNAL_BYTES_MAX}B");
        let mut environment = vec![
            ("NATS_URL", nats.as_str()),
            ("CLICKHOUSE_URL", &clickhouse),
            ("CLICKHOUSE_USER", clickhouse::USER),
            ("CLICKHOUSE_PASSWORD", clickhouse::PASSWORD),
            ("RISKSIGNAL__STREAM__REPLICAS", &replicas),
            (
                "RISKSIGNAL__VALIDATION__MAX_SIGNAL_BYTES",
                &signal_bytes_max,
            ),
        ];
        environment.extend(&self.settings);
        environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Clears all weather and starts what does not run. Every fault is over by now, so that
    /// only daemons can be missing.
    pub fn mend(&self) {
        self.journal.note("faults are over");
        for place in &self.places {
            place.to_clickhouse.set(Weather::Clear);
            if let Some(proxy) = &place.to_nats {
                proxy.set(Weather::Clear);
            }
            place.check(&self.journal);
            if place.daemon.borrow().is_none() {
                self.start_daemon(place);
            }
        }
    }

    /// Fails the run for every daemon that has ended by itself.
    pub fn check_daemons(&self) {
        for place in &self.places {
            place.check(&self.journal);
        }
    }
}

/// Short time-outs and small batches, so that a run sees many of each.
const SETTINGS: [(&str, &str); 18] = [
    ("RISKSIGNAL__NATS__CONNECT_TIMEOUT", "2s"),
    ("RISKSIGNAL__NATS__REQUEST_TIMEOUT", "1s"),
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "5s"),
    // What daemons that died still hold must not keep the others from pulling.
    ("RISKSIGNAL__CONSUMER__MAX_ACK_PENDING", "200000"),
    ("RISKSIGNAL__CONSUMER__MAX_IN_FLIGHT_MESSAGES", "4000"),
    ("RISKSIGNAL__CONSUMER__FETCH_MESSAGES", "1000"),
    ("RISKSIGNAL__CONSUMER__FETCH_EXPIRES", "2s"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "1s"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "2s"),
    ("RISKSIGNAL__CLICKHOUSE__RETRY_MIN", "50ms"),
    ("RISKSIGNAL__CLICKHOUSE__RETRY_MAX", "1s"),
    ("RISKSIGNAL__BATCH__MAX_ROWS", "2000"),
    ("RISKSIGNAL__BATCH__MAX_WAIT", "100ms"),
    ("RISKSIGNAL__SHUTDOWN__GRACE", "4s"),
    ("RISKSIGNAL__OPS__LISTEN", "off"),
    ("RISKSIGNAL__LOG__FORMAT", "json"),
    ("RISKSIGNAL__LOG__LINES_PER_SECOND", "1000"),
    (
        "RISKSIGNAL__LOG__FILTER",
        "info,risksignal=debug,async_nats=warn",
    ),
];

impl Place {
    pub fn name(&self) -> String {
        format!("daemon {}-{:03}", self.number, self.starts.get())
    }

    /// Whether there is a daemon, and it has ended.
    pub fn has_ended(&self) -> bool {
        let mut daemon = self.daemon.borrow_mut();
        daemon.as_mut().and_then(Process::status).is_some()
    }

    /// Forgets a daemon that has ended without being told to, which fails the run.
    pub fn check(&self, journal: &Journal) {
        let mut daemon = self.daemon.borrow_mut();
        if let Some(status) = daemon.as_mut().and_then(Process::status) {
            journal.fail(format!("{} ended by itself: {status}", self.name()));
            *daemon = None;
        }
    }

    pub fn kill(&self) {
        // Killed when dropped.
        self.daemon.replace(None);
    }

    /// Sends a signal to the daemon; false when there is none.
    pub fn signal(&self, name: &str) -> bool {
        let daemon = self.daemon.borrow();
        daemon.iter().for_each(|daemon| daemon.signal(name));
        daemon.is_some()
    }

    /// SIGTERM, and the status that it ends with; `None` without a daemon.
    pub async fn stop(&self) -> Option<ExitStatus> {
        let mut daemon = self.daemon.take()?;
        daemon.signal("TERM");
        Some(daemon.ended().await)
    }
}

/// A command whose process the kernel kills when this one ends, however it ends. It must be
/// started from the main thread, since it is the thread's end that counts.
pub fn dies_with_parent(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// The nodes of a cluster on loopback.
fn cluster(dir: &Path, nodes: usize) -> Result<Vec<Nats>> {
    let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
    let routes: Vec<String> = ports
        .iter()
        .map(|port| format!("nats-route://127.0.0.1:{port}"))
        .collect();
    let mut cluster = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let config = dir.join(format!("node-{number}.conf"));
        std::fs::write(
            &config,
            format!(
                "server_name: node-{number}\n\
                 jetstream {{ max_memory_store: 256MB, max_file_store: 20GB }}\n\
                 cluster {{ name: chaos, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
                routes.join(", ")
            ),
        )
        .with_context(|| format!("cannot write {}", config.display()))?;
        let option = format!("--config={}", config.display());
        cluster.push(Nats::spawn(
            dir.join(format!("nats-{number}")),
            Options::arguments(&[&option]),
        ));
    }
    Ok(cluster)
}
