//! Runs histories, shrinks what fails, and keeps what failed once.

use crate::{
    generator,
    laws::Violation,
    simulation::Simulation,
    step::{History, Step},
};

/// In seconds: until everything has come to rest, and until everything has converged.
const REST: i64 = 2_400;
const CONVERGENCE: i64 = 2_400;
const RESTART: i64 = 120;
/// A leader that has just begun takes up what is asked of it after so long at most.
const RECOVERY: i64 = 40;

/// Counts of one or more histories.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) histories: usize,
    pub(crate) passes: usize,
    pub(crate) promotions: usize,
    pub(crate) condemnations: usize,
}

pub(crate) fn run(history: &History) -> Result<Counts, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(history.seed);
        for step in &history.steps {
            simulation.take(step).await?;
        }
        end(&mut simulation).await?;
        Ok(Counts {
            histories: 1,
            passes: simulation.passes,
            promotions: simulation.laws.promotions,
            condemnations: simulation.laws.condemnations,
        })
    })
}

async fn end(simulation: &mut Simulation) -> Result<(), Violation> {
    simulation.calm();
    until(simulation, REST, "comes to rest", Simulation::restless).await?;
    simulation.heal();
    simulation.run(RECOVERY * 1_000).await?;
    until(simulation, CONVERGENCE, "converges", Simulation::unconverged).await?;
    until(simulation, REST, "comes to rest", Simulation::restless).await?;
    simulation.take(&Step::Wait(60)).await?;
    simulation.laws.frozen = true;
    simulation.take(&Step::LoseLeader { seconds: 2 }).await?;
    simulation.run(RESTART * 1_000).await
}

/// Waits until nothing is in the way any more.
async fn until(
    simulation: &mut Simulation,
    seconds: i64,
    law: &'static str,
    hinders: impl Fn(&Simulation) -> Option<String>,
) -> Result<(), Violation> {
    let end = simulation.now + seconds * 1_000;
    while let Some(hindrance) = hinders(simulation) {
        if simulation.now >= end {
            return Err(simulation.violation(law, hindrance));
        }
        simulation.run(5_000).await?;
    }
    Ok(())
}

/// Drops steps for as long as the same law is broken.
pub(crate) fn shrink(history: &History, law: &str) -> History {
    let mut best = history.clone();
    let breaks = |history: &History| run(history).is_err_and(|v| v.law == law);
    let mut size = (best.steps.len() / 2).max(1);
    loop {
        let mut at = 0;
        let mut dropped = false;
        while at < best.steps.len() {
            let mut shorter = best.clone();
            shorter.steps.drain(at..(at + size).min(best.steps.len()));
            if breaks(&shorter) {
                best = shorter;
                dropped = true;
            } else {
                at += size;
            }
        }
        if size == 1 && !dropped {
            return best;
        }
        size = (size / 2).max(1);
    }
}

#[derive(serde::Deserialize)]
struct Kept {
    why: String,
    history: History,
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn sum(counts: &mut Counts, other: Counts) {
    counts.histories += other.histories;
    counts.passes += other.passes;
    counts.promotions += other.promotions;
    counts.condemnations += other.condemnations;
}

/// `HISTORIES` and `HISTORIES_SEED` say how many and which; a failed one is shrunk and printed.
#[test]
fn random_histories_break_no_law() {
    let count = environment("HISTORIES").unwrap_or(300);
    let seed = environment("HISTORIES_SEED").unwrap_or(1);
    let steps = environment("HISTORIES_STEPS").unwrap_or(8);
    let (mut counts, mut broken) = (Counts::default(), Vec::new());
    for number in 0..count {
        let history = generator::history(seed.wrapping_mul(1_000_003).wrapping_add(number), steps);
        match run(&history) {
            Ok(one) => sum(&mut counts, one),
            Err(violation) => {
                println!("{violation}\n  {}", serde_json::to_string(&history).unwrap());
                broken.push((history, violation));
            }
        }
    }
    println!("seed {seed}: {counts:?}, {} broken", broken.len());
    let mut laws = std::collections::BTreeMap::<&str, usize>::new();
    broken.iter().for_each(|(_, v)| *laws.entry(v.law).or_default() += 1);
    println!("{laws:?}");
    if environment("HISTORIES_SHRINK") == Some(0) {
        assert!(broken.is_empty());
    }
    let mut shown = std::collections::BTreeSet::new();
    for (history, violation) in &broken {
        if shown.insert(violation.law) {
            let short = shrink(history, violation.law);
            let again = run(&short).err();
            println!("{violation}\n  {}", serde_json::to_string(&short).unwrap());
            println!("  shrunk: {}", again.map(|v| v.to_string()).unwrap_or_default());
        }
    }
    assert!(broken.is_empty());
}

/// Histories that broke a law once.
#[test]
fn kept_histories_break_no_law() {
    let kept: Vec<Kept> = serde_json::from_str(include_str!("kept.json")).unwrap();
    let run = |kept: &Kept| run(&kept.history).err().map(|violation| format!("{}: {violation}", kept.why));
    let broken: Vec<String> = kept.iter().filter_map(run).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// `HISTORY` is one history as JSON; `HISTORY_TRACE=1` prints what happens.
#[test]
fn one_history() {
    let Ok(text) = std::env::var("HISTORY") else { return };
    let history: History = serde_json::from_str(&text).unwrap();
    let result = run(&history);
    println!("{result:?}");
    if let (Err(violation), true) = (&result, std::env::var("HISTORY_SHRINK").is_ok()) {
        let short = shrink(&history, violation.law);
        println!("{}\n{:?}", serde_json::to_string(&short).unwrap(), run(&short));
    }
    assert!(result.is_ok());
}
