//! Leases of the daemons that keep the cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cmd;
use uuid::Uuid;

use super::connection::Redis;
use super::error::CacheError;
use super::scripts::keys;

/// Time for which Redis trusts a feeder to feed everything. For that long after a feeder was
/// killed, clients may get an earlier state.
const LEASE_MS: i64 = 5000;
/// The lease of one that has lost something: it was over a moment ago.
const NO_LEASE_MS: i64 = -1;
/// After that long without a lease a feeder is taken to have ended. One that goes on committing
/// without a way to Redis, while others have one, is not heard from then on.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);
/// Files with an id of this machine. A service that sees only processes in /proc has the second.
const HOST_NAMES: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
/// The file of the processes that this one can see.
const PID_NAMESPACE: &str = "/proc/self/ns/pid";
const OWN: &str = "/proc/self";

/// One process that commits signals: `host/namespace/user/pid/uuid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeederName {
    /// `host/namespace/user/`: so begins the name of every process that this one can see.
    seen: String,
    full: String,
}

/// Answer of Redis to a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    /// The generation.
    pub generation: String,
    /// It begins with this renewal.
    pub is_new: bool,
    /// The feeders whose leases are over.
    pub silent: Vec<String>,
}

impl FeederName {
    /// This process'. Containers may share a host's name, and what hides processes hides those of
    /// other users.
    pub fn own() -> Self {
        let mut hosts = HOST_NAMES
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok());
        // Without an id, no other machine has the same.
        let host = hosts.next().unwrap_or_else(|| Uuid::new_v4().to_string());
        let host = host.trim().replace('/', "");
        let namespace = fs::read_link(PID_NAMESPACE).unwrap_or_default();
        let user = fs::metadata(OWN).map_or(0, |own| own.uid());
        let seen = format!("{host}/{}/{user}/", namespace.display());
        let full = format!("{seen}{}/{}", std::process::id(), Uuid::new_v4());
        Self { seen, full }
    }

    /// Returns other feeders that this process would see, and that have ended.
    fn ended<'a>(&self, others: &'a [String]) -> Vec<&'a str> {
        let has_ended = |other: &&str| {
            let rest = other.strip_prefix(&self.seen);
            let pid = rest.and_then(|rest| rest.split_once('/')?.0.parse::<u32>().ok());
            // A number may have been given to another process, this one among them.
            pid.is_some_and(|pid| {
                pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists()
            })
        };
        let others = others.iter().map(String::as_str);
        others.filter(has_ended).collect()
    }
}

/// Renews the lease; `begins` another generation where that is true.
pub(super) async fn renew(
    redis: &Redis,
    connection: &MultiplexedConnection,
    name: &FeederName,
    begins: bool,
) -> Result<Beat, CacheError> {
    let beat = call(
        redis,
        connection,
        &name.full,
        LEASE_MS,
        begins,
        GIVE_UP,
        &[],
    )
    .await?;
    let ended = name.ended(&beat.silent);
    if ended.is_empty() {
        return Ok(beat);
    }
    call(
        redis, connection, &name.full, LEASE_MS, begins, GIVE_UP, &ended,
    )
    .await
}

/// Ends the lease, so that no client is answered out of Redis.
pub(super) async fn end(
    redis: &Redis,
    connection: &MultiplexedConnection,
    name: &FeederName,
) -> Result<(), CacheError> {
    call(
        redis,
        connection,
        &name.full,
        NO_LEASE_MS,
        false,
        GIVE_UP,
        &[],
    )
    .await?;
    Ok(())
}

/// Begins a generation for nobody in particular. Feeders without a lease are given up.
pub(super) async fn begin(
    redis: &Redis,
    connection: &MultiplexedConnection,
) -> Result<Beat, CacheError> {
    call(redis, connection, "", LEASE_MS, true, Duration::ZERO, &[]).await
}

/// Ends the lease of a feeder that has fed everything, and has no more.
pub(super) async fn leave(
    redis: &Redis,
    connection: &MultiplexedConnection,
    name: &FeederName,
) -> Result<(), CacheError> {
    let mut connection = connection.clone();
    cmd("HDEL")
        .arg(keys::feeders(&redis.prefix))
        .arg(&name.full)
        .query_async(&mut connection)
        .await
        .map_err(|error| redis.failed("leave", error))
}

/// Counts the feeders.
pub(super) async fn feeders(
    redis: &Redis,
    connection: &MultiplexedConnection,
) -> Result<usize, CacheError> {
    let mut connection = connection.clone();
    cmd("HLEN")
        .arg(keys::feeders(&redis.prefix))
        .query_async(&mut connection)
        .await
        .map_err(|error| redis.failed("ask for feeders in", error))
}

async fn call(
    redis: &Redis,
    connection: &MultiplexedConnection,
    feeder: &str,
    lease_ms: i64,
    begins: bool,
    give_up: Duration,
    ended: &[&str],
) -> Result<Beat, CacheError> {
    let mut connection = connection.clone();
    let mut call = redis.scripts.beat.prepare_invoke();
    call.key(keys::state(&redis.prefix))
        .key(keys::feeders(&redis.prefix))
        .arg(feeder)
        .arg(lease_ms)
        .arg(u8::from(begins))
        .arg(give_up.as_millis() as u64)
        .arg(ended);
    let (generation, is_new, silent): (String, bool, Vec<String>) = call
        .invoke_async(&mut connection)
        .await
        .map_err(|error| redis.failed("renew the lease in", error))?;
    Ok(Beat {
        generation,
        is_new,
        silent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_this_host_that_are_gone_have_ended() {
        let own = FeederName::own();
        let (seen, pid) = (&own.seen, std::process::id());
        assert_eq!(seen.matches('/').count(), 3, "{seen}");
        assert!(own.full.starts_with(&format!("{seen}{pid}/")));
        let others = [
            format!("{seen}{pid}/before"),
            // Linux has at most 2^22 processes.
            format!("{seen}99999999/gone"),
            format!("{seen}1/alive"),
            format!("other{seen}99999999/unknown"),
            seen.clone(),
            String::new(),
        ];
        assert_eq!(own.ended(&others), [&others[0], &others[1]]);
    }
}
