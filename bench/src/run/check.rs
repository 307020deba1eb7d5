//! Conformance of the servers, before they are measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use conform::{CaseResult, Deviations, Pace, Selection, Summary, Target};
use fleet::{Launch, Package, Server};

use super::contestant::Contestant;
use super::progress::Progress;
use crate::report::Conformance;

/// Servers that are checked at a time: their cases wait far more than they compute.
const AT_ONCE: usize = 4;

/// A recommendation that fails does not make a run fail.
const STRICT: bool = false;

/// Checks every contestant that has a package; one that does not start gets an error row.
pub(super) fn check_all(
    contestants: &mut [Contestant],
    interrupted: &AtomicBool,
    progress: &mut Progress,
) {
    for group in contestants.chunks_mut(AT_ONCE) {
        if interrupted.load(Ordering::Relaxed) {
            return;
        }
        for contestant in group.iter().filter(|it| it.package.is_some()) {
            let encoding = contestant.row.encoding.as_deref().unwrap_or_default();
            progress.say(&format!("check  {} {encoding}", contestant.row.server));
        }
        thread::scope(|scope| {
            for contestant in group {
                scope.spawn(|| check_one(contestant, interrupted));
            }
        });
    }
}

fn check_one(contestant: &mut Contestant, interrupted: &AtomicBool) {
    let (Some(launch), Some(package)) = (&contestant.launch, &contestant.package) else { return };
    let encoding = contestant.row.encoding.as_deref().unwrap_or_default();
    let found = check(package, encoding, launch);
    if interrupted.load(Ordering::Relaxed) {
        // Ctrl-C in a terminal ends the server too: that is not its fault.
        return;
    }
    match found {
        Ok(conformance) => contestant.row.conformance = Some(conformance),
        Err(error) => contestant.row.error = Some(format!("{error:#}")),
    }
}

fn check(package: &Package, encoding: &str, launch: &Launch) -> Result<Conformance> {
    let began = Instant::now();
    let launch = conform::conformance_launch(launch);
    let deviations = Deviations::read(&package.folder).map_err(anyhow::Error::msg)?;
    let server = Server::start(&launch)?;
    let target = Target::contract(server.addr(), Some(launch));
    let results = conform::check_each(
        &target,
        // The long cases would cost minutes for each server; `conform server ours` has them.
        &Selection::default().with_pace(Pace::Short),
        &deviations.for_encoding(encoding),
        &|_| {},
    );
    let summary = Summary::of(&results, STRICT);
    let names = |wanted: fn(&CaseResult) -> bool| {
        results.iter().filter(|it| wanted(it)).map(CaseResult::name).collect()
    };
    // How it ends is judged by the cases on shutdown; here it only has to go away.
    let _ = server.stop();
    Ok(Conformance {
        suite_version: conform::SUITE_VERSION,
        passed: summary.passed as u64,
        failed: summary.failed as u64,
        missed: names(CaseResult::is_miss),
        unexpected: names(|it| it.is_unexpected(STRICT)),
        took_s: began.elapsed().as_secs_f64(),
    })
}
