//! Puts messages of a table that went back in doubt again.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::jetstream::Context;
use claims::AllFencesOver;
use claims_log::{Fences, Process};
use clock::unix_nanos;
use store::Store;
use tokio::time::sleep;

use crate::settings::Settings;

use super::{Claiming, ClaimingError, Servers, ended};

/// Time between two reads of ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Puts messages in doubt, once no earlier insert can land any more. Running daemons look them up,
/// and insert those that neither the table nor the dead letters have. `waits` receives the number
/// of seconds to wait.
///
/// # Errors
/// Fails when a server fails, the claims log is missing, or it lost records, which a daemon
/// repairs.
pub async fn reopen(
    context: &Context,
    store: &Store,
    settings: &Settings,
    range: RangeInclusive<u64>,
    waits: impl FnOnce(u64),
) -> Result<(), ClaimingError> {
    let servers = Servers::new(context, store, settings);
    store.learn_ledger().await?;
    let log = servers.log();
    let is_begun = match log.check().await? {
        Some(info) => log.is_begun(&info).await?,
        None => false,
    };
    if !is_begun {
        return Err(ClaimingError::NoLog(log.name().to_owned()));
    }
    let created = unix_nanos(servers.stream_info().await?.created);
    let window = usize::try_from(store.window().await?).unwrap_or(usize::MAX);
    let Claiming {
        process,
        reading,
        mut following,
        ..
    } = Claiming::follow(&servers, window);
    let reopened = async {
        process.ready().await;
        let over = fences_over(&servers, &process, waits).await?;
        loop {
            process.ready().await;
            let (id, range) = (process.nonce(), range.clone());
            // `None` while the log is checked again.
            if let Some(record) = process.with(|instance| instance.reopen(id, over, created, range))
            {
                process.append(record).await;
                return Ok(());
            }
        }
    };
    let result = tokio::select! {
        reopened = reopened => reopened,
        error = ended(&mut following) => Err(error.into()),
    };
    reading.cancel();
    result
}

/// Waits until no insert of an earlier claim can land any more.
async fn fences_over(
    servers: &Servers,
    process: &Process,
    waits: impl FnOnce(u64),
) -> Result<AllFencesOver, ClaimingError> {
    let Fences { longest, late } = servers.fences().await?;
    let since = servers.store.clock().await?;
    let last = process.with(|instance| instance.log().last_fence());
    let last = last.max(since + longest);
    waits(u64::try_from(last + late - since).unwrap_or(0));
    loop {
        let now = servers.store.clock().await?;
        if let Some(over) = AllFencesOver::judge(last, now, late) {
            return Ok(over);
        }
        sleep(CLOCK_INTERVAL).await;
    }
}
