//! Does to the world what the plan says.

use std::time::Duration;

use futures_util::future::join_all;
use testkit::process::Process;
use tokio::time::{Instant, sleep, sleep_until};

use super::operators;
use super::plan::{Fault, Step, Target, Track, kind};
use super::proxy::{Proxy, Weather};
use super::world::{OTHER_CONSUMER, Place, World};

/// For an insert to come whose rows are held back.
const COMMIT_COMES: Duration = Duration::from_secs(3);

/// Injects every fault of the plan, and ends when each is over.
pub async fn inject(world: &World, publisher: &Process, plan: &[Track]) {
    let start = Instant::now();
    let tracks = plan
        .iter()
        .map(|track| follow(world, publisher, track, start));
    join_all(tracks).await;
}

async fn follow(world: &World, publisher: &Process, track: &Track, start: Instant) {
    for (number, step) in track.steps.iter().enumerate() {
        sleep_until(start + step.at).await;
        let kind = kind(track.target, step.fault);
        // An operator's command may not come to pass.
        let is_command = matches!(track.target, Target::Consumer | Target::Table)
            || matches!(step.fault, Fault::PutBack(_));
        if !is_command {
            world.journal.count(kind);
        }
        world.journal.note(&format!(
            "{kind} {:?} {:?} for {} ms",
            track.target,
            step.fault,
            step.lasts.as_millis()
        ));
        match track.target {
            Target::Daemon(place) => daemon(world, &world.places[place], *step).await,
            Target::ClickHouse => clickhouse(world, *step).await,
            Target::Nats | Target::NatsAndItsData | Target::Cluster => {
                if let Fault::PutBack(extent) = step.fault {
                    let done = operators::put_back(world, publisher, extent, step.lasts).await;
                    if done.expect("NATS' data cannot be put back") {
                        world.journal.count(kind);
                    }
                } else {
                    nats(world, number % world.nats.len(), *step).await;
                }
            }
            Target::LinkToClickHouse(place) => {
                link(&world.places[place].to_clickhouse, *step).await;
            }
            Target::LinkToNats(place) => {
                if let Some(proxy) = &world.places[place].to_nats {
                    link(proxy, *step).await;
                }
            }
            Target::Consumer => {
                if operators::consumer(world, *step).await {
                    world.journal.count(kind);
                }
            }
            Target::Table => {
                if operators::view(world, *step).await {
                    world.journal.count(kind);
                }
            }
            Target::OtherConsumer => other_consumer(world, *step).await,
            Target::Clock(place) => clock(&world.places[place], *step).await,
        }
        world.journal.note(&format!("{:?} is well", track.target));
    }
}

async fn daemon(world: &World, place: &Place, step: Step) {
    world.check(place);
    match step.fault {
        Fault::Kill => place.kill(),
        Fault::Stop => {
            // A stop that its grace was too short for is a failure of no promise.
            let status = place.stop().await;
            let output = status.map_or("was not there".to_owned(), |status| status.to_string());
            world.journal.note(&format!("{}: {output}", place.name()));
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
        _ => {
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
    if step.fault == Fault::KillInCommit {
        world.commits.hold();
        let end = Instant::now() + COMMIT_COMES;
        let mut reached = false;
        while !reached && Instant::now() < end {
            sleep(Duration::from_millis(20)).await;
            reached = world.commits.take_reached();
        }
        if reached {
            world.journal.count("commits that ClickHouse was killed in");
        }
        server.kill();
        world.commits.release();
        server.restart().await;
    } else if step.fault == Fault::Kill {
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

/// A daemon comes, and lands what it may before it goes.
async fn other_consumer(world: &World, step: Step) {
    let place = &world.places[OTHER_CONSUMER];
    world.check(place);
    if !place.is_there() {
        world.start_daemon(place);
    }
    sleep(step.lasts).await;
    if step.fault == Fault::Kill {
        place.kill();
    } else {
        place.stop().await;
    }
}

async fn clock(place: &Place, step: Step) {
    let (Fault::ClockStep(seconds), Some(clock)) = (step.fault, &place.clock) else {
        return;
    };
    clock.step(seconds);
    sleep(step.lasts).await;
    clock.step(0);
}
