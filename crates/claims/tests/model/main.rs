//! Explores the rules of the claims log. Without arguments it ends within a minute; `make model`
//! explores further. Prints bounds, states and findings.

#![allow(clippy::unwrap_used)] // A test stops at the first surprise.

mod bounds;
mod broken;
mod events;
mod explore;
mod happen;
mod loss;
mod possible;
mod recovery;
mod reopen;
mod rewind;
mod scenarios;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use stateright::{Checker, Model};

use broken::broken;
use explore::Explored;
use scenarios::sound;

/// States of each sound world in a daily test run.
const STATES_MAX: usize = 60_000;
/// States within which a broken rule must show.
const STATES_MAX_BROKEN: usize = 2_000_000;

/// Events before a violation that are printed.
const EVENTS_MAX: usize = 80;

/// Reads `--name value` from the command line.
fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// Result of the exploration of one world.
struct Outcome {
    states: usize,
    is_exhausted: bool,
    seconds: f64,
    /// Violated property, and the events that lead there.
    violated: Option<(&'static str, String)>,
}

fn explore(model: Explored, states_max: usize) -> Outcome {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model
        .checker()
        .threads(threads)
        .finish_when(stateright::HasDiscoveries::Any);
    let checker = checker.target_state_count(states_max);
    // Breadth first finds the shortest way to a violation, but keeps all states at its edge.
    if states_max > STATES_MAX_BROKEN {
        outcome(&checker.spawn_dfs().join(), states_max, began)
    } else {
        outcome(&checker.spawn_bfs().join(), states_max, began)
    }
}

fn outcome(checker: &impl Checker<Explored>, states_max: usize, began: Instant) -> Outcome {
    let violated = checker.discoveries().into_iter().next();
    Outcome {
        states: checker.unique_state_count(),
        is_exhausted: violated.is_none() && checker.state_count() < states_max,
        seconds: began.elapsed().as_secs_f64(),
        violated: violated.map(|(name, path)| {
            let events: Vec<String> = path
                .into_actions()
                .iter()
                .map(|event| format!("    {event:?}"))
                .collect();
            let events = &events[events.len().saturating_sub(EVENTS_MAX)..];
            (name, events.join("\n"))
        }),
    }
}

fn main() -> ExitCode {
    let states_max = argument("--states").unwrap_or(STATES_MAX);
    let only: Option<String> = argument("--only");
    let is_chosen = |name: &str| only.as_ref().is_none_or(|only| name.contains(only));
    let (mut passed, mut failed) = (0, 0);
    for scenario in sound().into_iter().filter(|one| is_chosen(one.name)) {
        let outcome = explore(
            Explored {
                bounds: scenario.bounds,
                flaw: None,
                breach: None,
                recovers: true,
                recovered: Default::default(),
            },
            states_max,
        );
        let how = if outcome.is_exhausted {
            "all"
        } else {
            "cut at"
        };
        println!(
            "{}: {how} {} states, {:.1} s",
            scenario.name, outcome.states, outcome.seconds
        );
        match outcome.violated {
            None => passed += 1,
            Some((name, events)) => {
                failed += 1;
                println!("  VIOLATED: {name}\n{events}");
            }
        }
    }
    for rule in broken() {
        let name = match (rule.flaw, rule.breach) {
            (Some(flaw), _) => format!("{flaw:?}"),
            (_, Some(breach)) => format!("{breach:?}"),
            _ => continue,
        };
        if !is_chosen(&name) {
            continue;
        }
        let outcome = explore(
            Explored {
                bounds: rule.bounds,
                flaw: rule.flaw,
                breach: rule.breach,
                recovers: true,
                recovered: Default::default(),
            },
            STATES_MAX_BROKEN,
        );
        match &outcome.violated {
            Some((property, events)) => {
                passed += 1;
                println!(
                    "broken rule {name}: shown in {} states, {:.1} s, not \"{property}\"",
                    outcome.states, outcome.seconds
                );
                if only.is_some() {
                    println!("{events}");
                }
            }
            None => {
                failed += 1;
                println!("broken rule {name}: NOT SHOWN in {} states", outcome.states);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
