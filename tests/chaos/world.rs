//! The servers, the daemons and the links between them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use testkit::clickhouse::{self, ClickHouse};
use testkit::hold_renames::HoldRenames;
use testkit::nats::{CONSUMER, Nats, Options};
use testkit::process::{Process, free_port};
use testkit::step_clock::StepClock;
use testkit::users::{self, User};
use testkit::{setting, variable};

use super::journal::Journal;
use super::operators;
use super::proxy::{Protocol, Proxy, Weather};
use super::settings::{CLAIMS, SETTINGS};
use super::signals::SIGNAL_BYTES_MAX;

/// Places for daemons; in each one daemon after the other lives.
pub const PLACES: usize = 3;
/// The place of a daemon that has a consumer of its own on the same stream, after those of the
/// others.
pub const OTHER_CONSUMER: usize = PLACES;
/// The other consumer.
pub const OTHER_NAME: &str = "another-consumer";

/// The status of a daemon that asks to be started again, since its claims log was put back.
const EXIT_LOST: i32 = 75;

pub struct World {
    pub dir: PathBuf,
    pub journal: Arc<Journal>,
    /// One server, or the nodes of a cluster.
    pub nats: Vec<Nats>,
    pub clickhouse: ClickHouse,
    /// Holds ClickHouse inside a commit.
    pub commits: HoldRenames,
    pub places: Vec<Place>,
    /// The numbers of messages that an operator has taken out of the stream, with how often.
    gone: RefCell<BTreeMap<u64, u32>>,
    /// An operator has put servers' data back.
    is_put_back: Cell<bool>,
    /// Another release's program; it has no fault points.
    other: Option<PathBuf>,
    /// Settings of every daemon, on top of its servers' addresses.
    settings: Vec<(&'static str, &'static str)>,
}

/// A place for a daemon, with its own ways to the servers.
pub struct Place {
    number: usize,
    /// None where no clock can be stepped.
    pub clock: Option<StepClock>,
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
        other: Option<PathBuf>,
        journal: &Arc<Journal>,
    ) -> Result<Self> {
        let nats = if nodes == 1 {
            vec![Nats::spawn(dir.join("nats"), Options::default())]
        } else {
            cluster(dir, nodes)?
        };
        let commits = HoldRenames::compiled_in(dir);
        let users = users::file(&operators::users(), dir);
        let clickhouse = ClickHouse::spawn_in(
            commits.environment(),
            dir.join("clickhouse"),
            &[format!("--users={}", users.display())],
        );
        for node in &nats {
            node.ready().await;
        }
        clickhouse.ready().await;
        let mut places = Vec::new();
        for number in 0..=OTHER_CONSUMER {
            let folder = dir.join(format!("clock-{number}"));
            std::fs::create_dir(&folder)?;
            let to_nats = if let [only] = nats.as_slice() {
                Some(Proxy::start(Protocol::Raw, only.port(), journal).await?)
            } else {
                None
            };
            places.push(Place {
                number,
                clock: StepClock::in_folder(&folder),
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
            commits,
            places,
            gone: RefCell::default(),
            is_put_back: Cell::new(false),
            settings: match &other {
                Some(_) => [&SETTINGS, settings].concat(),
                None => [&CLAIMS, SETTINGS.as_slice(), settings].concat(),
            },
            other,
        })
    }

    /// The NATS servers' own addresses.
    pub fn nats_urls(&self) -> String {
        let urls: Vec<String> = self.nats.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// The daemons' consumers that there are.
    pub fn consumers(&self) -> Vec<&'static str> {
        if self.places[OTHER_CONSUMER].starts.get() == 0 {
            vec![CONSUMER]
        } else {
            vec![CONSUMER, OTHER_NAME]
        }
    }

    /// Notes messages that an operator has taken out of the stream.
    pub fn taken_back(&self, numbers: &[u64]) {
        self.is_put_back.set(true);
        let mut gone = self.gone.borrow_mut();
        for number in numbers {
            *gone.entry(*number).or_default() += 1;
        }
    }

    /// Number of messages that an operator has taken out of the stream.
    pub fn times_taken_back(&self, number: u64) -> u32 {
        self.gone.borrow().get(&number).copied().unwrap_or(0)
    }

    /// Messages that an operator has taken out of the stream.
    pub fn taken_back_count(&self) -> u64 {
        self.gone.borrow().len() as u64
    }

    /// Messages may be lost, by an operator's hand.
    pub fn is_put_back(&self) -> bool {
        self.is_put_back.get()
    }

    /// The daemons' clocks can step.
    pub fn can_step_clocks(&self) -> bool {
        self.places.iter().all(|place| place.clock.is_some())
    }

    /// Starts a daemon in a place that has none.
    pub fn start_daemon(&self, place: &Place) {
        self.start(place, &["run"]);
    }

    /// Like [`World::start_daemon`], but the daemon ends itself at a fault point.
    pub fn start_doomed_daemon(&self, place: &Place, fault_point: &str) {
        match &self.other {
            Some(_) => self.start(place, &["run"]),
            None => self.start(place, &["run", "--fault-point", fault_point]),
        }
    }

    fn start(&self, place: &Place, arguments: &[&str]) {
        let start = place.starts.get() + 1;
        place.starts.set(start);
        let log = self
            .dir
            .join(format!("daemon-{}-{start:03}.log", place.number));
        let usual = testkit::program();
        let mut command = dies_with_parent(self.other.as_deref().unwrap_or(&usual));
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment(place))
            .envs(place.clock.iter().flat_map(StepClock::environment))
            .current_dir(&self.dir);
        if let Some(User { name, .. }) = place.user() {
            self.journal
                .count("daemon: started with a user whose profile cuts answers short");
            command.envs(users::login(name));
        }
        if place.number == OTHER_CONSUMER {
            command.env(variable!(consumer.name), OTHER_NAME);
        }
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
            setting!(nats.url = nats.as_str()),
            setting!(clickhouse.url = &clickhouse),
            setting!(clickhouse.user = clickhouse::USER),
            setting!(clickhouse.password = clickhouse::PASSWORD),
            setting!(stream.replicas = &replicas),
            setting!(validation.max_signal_bytes = &signal_bytes_max),
        ];
        environment.extend(&self.settings);
        environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Clears all weather and starts what does not run. Every fault is over by now, so that
    /// only daemons can be missing.
    pub async fn mend(&self) {
        self.journal.note("faults are over");
        for place in &self.places {
            place.to_clickhouse.set(Weather::Clear);
            if let Some(proxy) = &place.to_nats {
                proxy.set(Weather::Clear);
            }
            self.check(place);
            let is_wanted = place.number != OTHER_CONSUMER || place.starts.get() > 0;
            if is_wanted && !place.is_there() {
                self.start_daemon(place);
            }
        }
        operators::remove_view(self).await;
    }

    /// Like [`World::check`], for each place.
    pub fn check_daemons(&self) {
        for place in &self.places {
            self.check(place);
        }
    }

    /// Starts a daemon again that has asked for it. One that has ended by itself for another
    /// reason fails the run.
    pub fn check(&self, place: &Place) {
        let Some(status) = place.take_ended() else {
            return;
        };
        if self.is_put_back() && status.code() == Some(EXIT_LOST) {
            self.journal
                .count("daemons that ended to be started again, since their log was put back");
            self.start_daemon(place);
        } else {
            self.journal
                .fail(format!("{} ended by itself: {status}", place.name()));
        }
    }
}

impl Place {
    pub fn name(&self) -> String {
        format!("daemon {}-{:03}", self.number, self.starts.get())
    }

    /// Reports if there is a daemon, and it has ended.
    pub fn has_ended(&self) -> bool {
        let mut daemon = self.daemon.borrow_mut();
        daemon.as_mut().and_then(Process::status).is_some()
    }

    /// Reports if there is a daemon.
    pub fn is_there(&self) -> bool {
        self.daemon.borrow().is_some()
    }

    /// Forgets a daemon that has ended; its status.
    fn take_ended(&self) -> Option<ExitStatus> {
        let status = self.daemon.borrow_mut().as_mut().and_then(Process::status);
        if status.is_some() {
            self.kill();
        }
        status
    }

    pub fn kill(&self) {
        // Killed when dropped.
        self.daemon.replace(None);
    }

    /// The user of the daemon that starts; `None` is the usual one, who creates the table.
    fn user(&self) -> Option<User<'static>> {
        let users = operators::users();
        let turn = (self.number + self.starts.get()) % (users.len() + 2);
        users
            .into_iter()
            .nth(turn)
            .filter(|_| self.starts.get() > 1)
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
pub fn dies_with_parent(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
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
