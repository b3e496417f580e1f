//! Does to the world what the plan says.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::{Fault, Step, Target, Track, kind};
use super::proxy::{Proxy, Weather};
use super::world::{Place, World};

/// Injects every fault of the plan, and ends when each is over.
pub async fn inject(world: &World, plan: &[Track]) {
    let start = Instant::now();
    join_all(plan.iter().map(|track| follow(world, track, start))).await;
}

async fn follow(world: &World, track: &Track, start: Instant) {
    for (number, step) in track.steps.iter().enumerate() {
        sleep_until(start + step.at).await;
        let kind = kind(track.target, step.fault);
        world.journal.count(kind);
        world.journal.note(&format!(
            "{kind} {:?} {:?} for {} ms",
            track.target,
            step.fault,
            step.lasts.as_millis()
        ));
        match track.target {
            Target::Daemon(place) => daemon(world, &world.places[place], *step).await,
            Target::ClickHouse => clickhouse(world, *step).await,
            Target::Nats | Target::Cluster => nats(world, number % world.nats.len(), *step).await,
            Target::LinkToClickHouse(place) => {
                link(&world.places[place].to_clickhouse, *step).await;
            }
            Target::LinkToNats(place) => {
                if let Some(proxy) = &world.places[place].to_nats {
                    link(proxy, *step).await;
                }
            }
        }
        world.journal.note(&format!("{:?} is well", track.target));
    }
}

async fn daemon(world: &World, place: &Place, step: Step) {
    place.check(&world.journal);
    match step.fault {
        Fault::Kill => place.kill(),
        Fault::Stop => {
            // A stop that its grace was too short for is a failure of no promise.
            let status = place.stop().await;
            let told = status.map_or("was not there".to_owned(), |status| status.to_string());
            world.journal.note(&format!("{}: {told}", place.name()));
        }
        Fault::Crash(point, times) => {
            place.kill();
            world.start_doomed_daemon(place, &format!("{}:{times}", point.name()));
            let end = Instant::now() + step.lasts;
            while !place.has_ended() && Instant::now() < end {
                sleep(Duration::from_millis(50)).await;
            }
            if place.has_ended() {
                world.journal.count("fault points reached");
            }
            place.kill();
            world.start_daemon(place);
            return;
        }
        Fault::Pause | Fault::Weather(_) => {
            place.signal("STOP");
            sleep(step.lasts).await;
            place.signal("CONT");
            return;
        }
    }
    sleep(step.lasts).await;
    world.start_daemon(place);
}

async fn clickhouse(world: &World, step: Step) {
    let server = &world.clickhouse;
    if step.fault == Fault::Kill {
        server.kill();
        sleep(step.lasts).await;
        server.restart().await;
    } else {
        pause(step.lasts, |signal| server.signal(signal)).await;
    }
}

async fn nats(world: &World, node: usize, step: Step) {
    let server = &world.nats[node];
    if step.fault == Fault::Kill {
        server.kill();
        sleep(step.lasts).await;
        server.restart().await;
    } else {
        pause(step.lasts, |signal| server.signal(signal)).await;
    }
}

async fn pause(lasts: Duration, signal: impl Fn(&str)) {
    signal("STOP");
    sleep(lasts).await;
    signal("CONT");
}

async fn link(proxy: &Proxy, step: Step) {
    if let Fault::Weather(weather) = step.fault {
        proxy.set(weather);
        sleep(step.lasts).await;
        proxy.set(Weather::Clear);
    }
}
