//! The suite for clients is tested: a small client that is right, with one switch a case that makes
//! it wrong.
//!
//! This binary is both: started with `client --fault C3.05 URL` it is the client, otherwise it runs
//! the tests. With no fault every case must hold. With a fault its case must fail; of the
//! categories that are data, the other cases run too, and only those that `faults.rs` lists may
//! fail. A case without a fault in the client stays green, so its test fails: a new case brings
//! its fault.

mod client;
mod faults;
mod http;
mod parser;
mod service;

use std::collections::BTreeSet;
use std::env::temp_dir;
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use conform::client::{Capability, Case, cases, check_command};
use conform::{CaseResult, Cost, Level, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::faults::{ALSO, MORE_FAULTS};

/// How long a case waits for a client that is known to be wrong.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Long cases run in a tenth of their time: the client is as fast.
const LONG_SCALE: f64 = 0.1;
/// Tests that run at a time for each core: they wait more than they compute.
const TEST_THREADS_PER_CORE: usize = 5;

/// They begin first: whatever else there is ends while they wait.
const LONGEST: &[&str] = &["C8.12", "C2.06", "C4.08", "C3.23", "C2.11", "C8.03", "C4.07", "C2.03"];

/// Faults that many cases meet, and the one case that each of them fails.
const ONE_FINDING: &[(&str, &str)] = &[
    ("C3.01", "C3.01"),
    ("C3.04-dispatched", "C3.04"),
    ("C3.16", "C3.16"),
    ("C5.01-early", "C5.01"),
    ("C6.28", "C6.28"),
];

/// The client behind a test service: its fault, the exit code, the cases that fail.
const SERVICES: &[(&str, i32, &[&str])] =
    &[("none", 0, &[]), ("C3.05", 1, &["C3.05"]), ("C6.14", 1, &["C1.11", "C6.14"])];
/// The cases that are tried through a service: some of each kind.
const BEHIND_A_SERVICE: &str = "C1,C2.01,C2.02,C3,C5.01,C5.04,C5.07,C6.01,C6.14,C6.20,C7.01,C7.16";

static FAULT: OnceLock<String> = OnceLock::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, _, fault, url] = arguments.as_slice()
        && role == "client"
    {
        FAULT.get_or_init(|| fault.clone());
        client::run(url);
    }
    if let [_, role, fault] = arguments.as_slice()
        && role == "service"
    {
        service::serve(fault);
    }
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(TEST_THREADS_PER_CORE * cores);
    let mut trials = vec![
        Trial::test("faults-name-cases", faults_name_cases),
        Trial::test("no-fault-all-green", all_green),
    ];
    for case in cases().filter(|case| case.level != Level::Info) {
        trials.push(Trial::test(case.name(), || turns_red(case, case.id)));
    }
    for (id, fault) in MORE_FAULTS {
        let Some(case) = cases().find(|case| case.id == *id) else { continue };
        let fault = format!("{id}-{fault}");
        trials.push(Trial::test(fault.clone(), move || turns_red(case, &fault)));
    }
    for (fault, id) in ONE_FINDING {
        trials.push(Trial::test(format!("{fault}-is-one-finding"), || is_one_finding(fault, id)));
    }
    for (fault, code, red) in SERVICES {
        let name = format!("service-{fault}-exits-{code}");
        trials.push(Trial::test(name, || behind_a_service(fault, *code, red)));
    }
    trials.sort_by_key(|it| !LONGEST.iter().any(|id| it.name().starts_with(id)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = std::fs::remove_file(temp_dir().join(format!("sse-alternate-{}", std::process::id())));
    conclusion.exit_code()
}

/// Whether the client has this fault.
fn fault(id: &str) -> bool {
    FAULT.get().is_some_and(|fault| fault == id)
}

/// Whether the client has this fault now: it has it in each process with an odd number.
fn fault_in_every_second(id: &str) -> bool {
    static IS_ODD: OnceLock<bool> = OnceLock::new();
    if !fault(&format!("{id}-alternate")) {
        return false;
    }
    *IS_ODD.get_or_init(|| {
        // The processes of one test count themselves in a file.
        let name = format!("sse-alternate-{}", std::os::unix::process::parent_id());
        let mut file = File::options().create(true).append(true).open(temp_dir().join(name));
        let written = file.as_mut().map(|file| {
            file.write_all(b"x").and_then(|()| file.metadata()).map_or(0, |it| it.len())
        });
        written.is_ok_and(|count| count % 2 == 1)
    })
}

fn faults_name_cases() -> Result<(), Failed> {
    let known = |id: &&str| cases().any(|case| case.id == *id);
    let named = ALSO.iter().flat_map(|(fault, ids)| ids.iter().chain([fault])).copied();
    let named = named.chain(MORE_FAULTS.iter().map(|(id, _)| *id));
    let unknown: Vec<_> = named.filter(|id| !known(id)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("no such cases: {unknown:?}").into()) }
}

fn all_green() -> Result<(), Failed> {
    let (long, others): (Vec<_>, Vec<_>) =
        cases().partition(|case| case.cost.contains(&Cost::Long));
    let (of_browsers, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|case| case.needs.contains(&Capability::Br));
    let (of_lone, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|case| client::LONE.contains(&case.id));
    let patience = Duration::from_secs(5);
    let mut results = checked("none", &others, patience, 1.0)?;
    results.extend(checked("none", &of_browsers, patience, 1.0)?);
    results.extend(checked("none", &of_lone, patience, 1.0)?);
    results.extend(checked("none", &long, patience, LONG_SCALE)?);
    let is_green = |it: &&CaseResult| !matches!(it.verdict, Verdict::Pass | Verdict::Info);
    let red: Vec<_> = results.iter().filter(is_green).map(text).collect();
    let complete = results.len() == cases().count();
    if red.is_empty() && complete { Ok(()) } else { Err(red.join("\n").into()) }
}

/// The fault's own case fails, the other listed cases fail, and no more: what follows from the fault is
/// not judged.
fn turns_red(case: &'static Case, fault: &str) -> Result<(), Failed> {
    let category = case.category();
    let wanted: Vec<_> = match category.number {
        2..=4 => cases().filter(|it| it.category() == category).collect(),
        _ => vec![case],
    };
    let scale = if case.cost.contains(&Cost::Long) { LONG_SCALE } else { 1.0 };
    let results = checked(fault, &wanted, PATIENCE, scale)?;
    let with = |wanted: &dyn Fn(&CaseResult) -> bool| -> BTreeSet<&str> {
        results.iter().filter(|it| wanted(it)).map(|it| it.id.as_str()).collect()
    };
    let red = with(&CaseResult::is_miss);
    let also = ALSO.iter().find(|(other, _)| *other == fault).map_or(&[][..], |(_, ids)| *ids);
    let expected: BTreeSet<&str> = also.iter().copied().chain([case.id]).collect();
    let green: Vec<_> = expected.difference(&red).collect();
    let others: Vec<_> = red.difference(&expected).collect();
    let errors = with(&|it| matches!(it.verdict, Verdict::Error | Verdict::Adapter));
    if red.contains(case.id) && green.is_empty() && others.is_empty() && errors.is_empty() {
        return Ok(());
    }
    let shown = |it: &&CaseResult| it.id == case.id || others.contains(&&it.id.as_str());
    let shown: Vec<_> = results.iter().filter(shown).map(text).collect();
    Err(format!(
        "under {fault}: green but should not be {green:?}{}, red but should not be {others:?}, errors \
         {errors:?}\n{}",
        advice(&green, fault),
        shown.join("\n")
    )
    .into())
}

/// Of all cases that take neither long nor the whole machine, one fails.
fn is_one_finding(fault: &str, id: &str) -> Result<(), Failed> {
    let is_wanted = |case: &&Case| {
        let costs = [Cost::Long, Cost::Alone];
        !costs.iter().any(|it| case.cost.contains(it))
            && !case.needs.contains(&Capability::Br)
            && !client::LONE.contains(&case.id)
    };
    let wanted: Vec<_> = cases().filter(is_wanted).collect();
    let results = checked(fault, &wanted, PATIENCE, 1.0)?;
    let is_other = |it: &&CaseResult| {
        (it.is_miss() != (it.id == id)) || matches!(it.verdict, Verdict::Error | Verdict::Adapter)
    };
    let others: Vec<_> = results.iter().filter(is_other).map(text).collect();
    if others.is_empty() { Ok(()) } else { Err(others.join("\n").into()) }
}

/// The command against a test service, as it would be against any other.
fn behind_a_service(fault: &str, code: i32, red: &[&str]) -> Result<(), Failed> {
    let mut service = Command::new(std::env::current_exe()?)
        .args(["service", fault])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    let stdout = service.stdout.take().ok_or("no stdout")?;
    std::io::BufReader::new(stdout).read_line(&mut address)?;
    let url = format!("http://{}", address.trim());
    let json =
        std::env::temp_dir().join(format!("sse-service-{}-{fault}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["conform", "client", "--service", &url, "--only", BEHIND_A_SERVICE, "--json"])
        .arg(&json)
        .output();
    let _ = service.kill();
    let _ = service.wait();
    let (output, report) = (output?, std::fs::read_to_string(&json)?);
    std::fs::remove_file(&json)?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let results = report["runs"][0]["results"].as_array().ok_or("no results")?;
    let of = |verdicts: &[&str]| -> Vec<&str> {
        let has =
            |it: &&serde_json::Value| verdicts.iter().any(|verdict| it["verdict"] == *verdict);
        results.iter().filter(has).filter_map(|it| it["id"].as_str()).collect()
    };
    let missed = of(&["fail", "non-strict"]);
    let others = of(&["blocked", "adapter", "error"]);
    let skipped = results.iter().filter(|it| it["verdict"] == "skip");
    let (follow, asked): (Vec<_>, Vec<_>) =
        skipped.partition(|it| it["actual"].as_str().is_some_and(|it| it.contains("because of")));
    // It does not say that a stream is open, so it is not asked.
    let asked: Vec<_> = asked.iter().filter_map(|it| it["id"].as_str()).collect();
    let is_fine = missed == red
        && others.is_empty()
        && asked == ["C5.01"]
        && follow.is_empty() == (fault == "none");
    if output.status.code() == Some(code) && is_fine {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(format!("{}: failed {missed:?}, {others:?}\n{said}", output.status).into())
}

/// The usual reason of a new case, whose fault is not written yet.
fn advice(green: &[&&str], fault: &str) -> String {
    match green {
        [] => String::new(),
        _ => format!(" (a new case brings its fault, `fault({fault:?})` in this folder)"),
    }
}

fn text(result: &CaseResult) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let (expected, actual) = (or_none(&result.expected), or_none(&result.actual));
    format!("{} {}: {expected} / {actual}", result.name(), result.verdict.word())
}

fn checked(
    fault: &str,
    wanted: &[&Case],
    patience: Duration,
    scale: f64,
) -> Result<Vec<CaseResult>, Failed> {
    let binary = std::env::current_exe()?;
    let binary = binary.to_str().ok_or("a path that is no text")?;
    let command = [binary, "client", "--fault", fault].map(str::to_owned);
    // It is a browser where one is asked for: the memory of a browser is not looked at.
    let is_browser = wanted.iter().all(|case| case.needs.contains(&Capability::Br));
    let is_lone = wanted.iter().all(|case| client::LONE.contains(&case.id));
    let capabilities = match (is_browser, is_lone) {
        (true, _) => "R,Br",
        (_, true) => "Cm,Hd",
        _ => "R,St,Cm,Hd,Bd,To,Id,Lm,Gz,Ch",
    };
    let ids: Vec<_> = wanted.iter().map(|case| case.id.to_owned()).collect();
    Ok(check_command(&command, capabilities, &ids, patience, scale)?)
}
