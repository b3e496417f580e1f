//! Cost of processes, from /proc.

use std::collections::HashSet;
use std::time::Duration;

use procfs::process::{Process, all_processes};

use super::world::World;

/// CPU time (user and system) since its start of a process, those below it included.
pub fn cpu(pid: u32) -> Duration {
    let mut family = HashSet::from([pid as i32]);
    let mut ticks = 0;
    let mut stats: Vec<_> = all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .collect();
    // A child is younger than its parent.
    stats.sort_by_key(|stat| stat.starttime);
    for stat in stats {
        if stat.pid == pid as i32 || family.contains(&stat.ppid) {
            family.insert(stat.pid);
            let ended_children = stat.cutime + stat.cstime;
            ticks += stat.utime + stat.stime + ended_children.max(0) as u64;
        }
    }
    seconds(ticks)
}

/// CPU time of a process without those below it.
pub fn cpu_alone(pid: u32) -> Duration {
    let stat = Process::new(pid as i32).and_then(|process| process.stat());
    let ticks = stat.map_or(0, |stat| stat.utime + stat.stime);
    seconds(ticks)
}

fn seconds(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// The most memory that was resident at once, in MiB.
pub fn peak_mib(pid: u32) -> f64 {
    let status = Process::new(pid as i32).and_then(|process| process.status());
    status.ok().and_then(|status| status.vmhwm).unwrap_or(0) as f64 / 1024.0
}

/// The memory that is resident now, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let status = Process::new(pid as i32).and_then(|process| process.status());
    status.ok().and_then(|status| status.vmrss).unwrap_or(0) as f64 / 1024.0
}

/// CPU seconds of the two servers.
#[derive(Debug, Clone, Copy)]
pub struct Servers {
    pub broker: f64,
    pub clickhouse: f64,
}

impl Servers {
    /// Since their start.
    pub fn now(world: &World) -> Self {
        Self {
            broker: cpu(world.nats.pid()).as_secs_f64(),
            clickhouse: cpu(world.clickhouse.pid()).as_secs_f64(),
        }
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            broker: self.broker - before.broker,
            clickhouse: self.clickhouse - before.clickhouse,
        }
    }
}
