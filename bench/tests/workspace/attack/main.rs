//! Attacks, at the short size: each server of the workspace withstands each of them.
//!
//! The tests are named `axum::malformed` and the like. A failure that is an `[[attack]]` entry of the
//! server's `deviations.toml` is expected, and an entry whose attack holds is out of date. The attacks
//! are tested too: this binary, started with `serve --fault NAME --port 0`, is a small server that
//! breaks one promise, and the attack must see that; without a fault all must hold.

mod server;
#[path = "../servers.rs"]
mod servers;

use std::process::ExitCode;
use std::time::Duration;

use bench::attack::{ATTACKS, Attack, PATIENCE, Row, Size, Target, Verdict};
use conform::Deviations;
use fleet::{Launch, Package};
use libtest_mimic::{Arguments, Failed, Trial};

/// The same requests in each run of the tests; `sse-bench attack` takes others each time.
const SEED: u64 = 12;

/// Enough to see a fault.
const SMALL: Size = Size {
    name: "small",
    streams: 20,
    ticks: 12,
    tick_ms: 10,
    ending: 8,
    readers: 8,
    bursts: 2,
    requests: 600,
    stalled: 3,
};

/// How long an attack waits for a server that is known to be wrong.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Attempts until there is a judgement.
const ATTEMPTS: usize = 5;

/// The attack, the fault, and a part of the words that say so.
const FAULTS: &[(&str, &str, &str)] = &[
    ("streams", "loses-an-event", "\"11\" came where tick 10 was due"),
    ("streams", "doubles-an-event", "\"10\" came where tick 11 was due"),
    ("streams", "ends-a-stream", "ended where tick 10 was due"),
    ("streams", "cuts-a-stream", "before the last chunk"),
    ("streams", "keeps-descriptors", "descriptors after"),
    ("streams", "refuses-streams", "stream 11: status 503"),
    ("sigterm", "cuts-a-chunk", "does not end whole"),
    ("sigterm", "says-no-retry", "for its retry line"),
    ("sigterm", "exits-late", "exit after"),
    ("sigterm", "never-exits", "did not exit"),
    ("sigterm", "exits-with-1", "exit status: 1"),
    ("broadcast", "loses-an-event", "waits for a message"),
    ("broadcast", "loses-an-event-for-all", "waits for a message"),
    ("broadcast", "doubles-an-event", "where reader 1 got"),
    ("broadcast", "doubles-an-event-for-all", "again or too late"),
    ("broadcast", "doubles-the-last-event", "after the last message"),
    ("broadcast", "swaps-events", "where reader 1 got"),
    ("broadcast", "forgets-at-resume", "waits for a message"),
    ("broadcast", "gives-another-id", "which was not published"),
    ("broadcast", "refuses-a-message", "status 500"),
    ("malformed", "answers-500", ": status 500"),
    ("malformed", "answers-nonsense", "no HTTP/1.1"),
    ("malformed", "keeps-memory", "KiB more memory"),
    ("malformed", "keeps-descriptors", "descriptors after"),
    ("malformed", "loses-an-event-for-all", "the honest client: "),
    ("malformed", "panics", "panics in 1 place: "),
    ("malformed", "dies", "the process ended: exit status: 7"),
    ("stalled", "lets-the-kernel-queue", "of the kernel's memory"),
    ("stalled", "cuts-the-stalled", "were cut before the stall timeout"),
];

/// The attack, and a server on which it says nothing.
const NOT_JUDGED: &[(&str, &str, &str)] =
    &[("stalled", "sends-one-event", "the server sent too little")];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|it| it == "serve") {
        server::serve(words.into_iter().skip_while(|it| it != "--fault").nth(1));
    }
    fleet::raise_fd_limit().expect("the soft limit may go up to the hard one");
    let mut trials = vec![
        Trial::test("deviations-name-attacks", deviations_name_attacks),
        Trial::test("faults-name-attacks", faults_name_attacks),
    ];
    for package in servers::packages() {
        for attack in ATTACKS {
            let test = format!("{}::{}", package.short_name(), attack.name);
            trials.push(Trial::test(test, move || withstands(package, attack)));
        }
    }
    for attack in ATTACKS {
        trials.push(Trial::test(format!("no-fault::{}", attack.name), move || holds(attack)));
        for (verdict, table) in [(Verdict::Failed, FAULTS), (Verdict::NotJudged, NOT_JUDGED)] {
            for (_, fault, words) in table.iter().filter(|it| it.0 == attack.name) {
                let test = format!("{}::{fault}", attack.name);
                trials.push(Trial::test(test, move || is_seen(attack, fault, verdict, words)));
            }
        }
    }
    let mut arguments = Arguments::from_args();
    // An attack is a load, and judges a time.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every deviation names an attack that there is.
fn deviations_name_attacks() -> Result<(), Failed> {
    for package in servers::packages() {
        for listed in Deviations::read(&package.folder)?.attacks() {
            if !ATTACKS.iter().any(|it| it.name == listed.attack) {
                let name = &package.name;
                return Err(format!("{name} lists {:?}: no such attack", listed.attack).into());
            }
        }
    }
    Ok(())
}

/// Every attack has a fault that it sees, and every fault an attack.
fn faults_name_attacks() -> Result<(), Failed> {
    let without = ATTACKS.iter().find(|attack| !FAULTS.iter().any(|it| it.0 == attack.name));
    let unknown = FAULTS.iter().find(|fault| !ATTACKS.iter().any(|it| it.name == fault.0));
    match (without, unknown) {
        (None, None) => Ok(()),
        it => Err(format!("an attack without a fault, or a fault without: {it:?}").into()),
    }
}

/// A server of the workspace.
fn withstands(package: &Package, attack: &Attack) -> Result<(), Failed> {
    let launch = package.launch(&servers::binary(package)?, "shared");
    let target = Target { launch, size: Size::SHORT, seed: SEED, patience: PATIENCE };
    let deviations = Deviations::read(&package.folder)?;
    let known = attack.known(&deviations, false);
    let row = tried(|| Row::judge(attack.name, attack.run(&target), known));
    match row.verdict {
        Verdict::Held | Verdict::Known => Ok(()),
        Verdict::Healed => Err("it holds, yet deviations.toml lists it: remove the entry".into()),
        Verdict::Failed | Verdict::NotJudged => Err(row.failure.unwrap_or_default().into()),
    }
}

/// A judgement; on a busy host it may take more than one attempt.
fn tried(attempt: impl Fn() -> Row) -> Row {
    let mut row = attempt();
    for _ in 1..ATTEMPTS {
        if row.verdict != Verdict::NotJudged {
            break;
        }
        row = attempt();
    }
    row
}

/// The small server with a fault, or with none.
fn small(fault: &str, patience: Duration) -> Result<Target, Failed> {
    let args = ["serve", "--fault", fault].map(str::to_owned).to_vec();
    let launch = Launch { binary: std::env::current_exe()?, args, ..Launch::default() };
    Ok(Target { launch, size: SMALL, seed: SEED, patience })
}

fn holds(attack: &Attack) -> Result<(), Failed> {
    let outcome = attack.run(&small("none", PATIENCE)?);
    outcome.map(|_| ()).map_err(|failure| format!("{failure:?}").into())
}

fn is_seen(attack: &Attack, fault: &str, verdict: Verdict, words: &str) -> Result<(), Failed> {
    let target = small(fault, SHORT_PATIENCE)?;
    let attempt = || Row::judge(attack.name, attack.run(&target), None);
    let row = if verdict == Verdict::NotJudged { attempt() } else { tried(attempt) };
    match row.failure {
        Some(failure) if row.verdict == verdict && failure.contains(words) => Ok(()),
        failure => Err(format!("{:?}, {failure:?}, not {words:?}", row.verdict).into()),
    }
}
