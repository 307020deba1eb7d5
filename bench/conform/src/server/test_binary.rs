//! `tests/conformance.rs` of a server: each case with each encoding is one named test.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fleet::{Launch, Server};
use libtest_mimic::{Arguments, Failed, Trial};

use super::report::{Paint, failure_text};
use super::run::run_case;
use super::{CaseResult, Deviations, Need, Target, Verdict, cases};

/// Tests that run at a time unless the command line says otherwise: they wait more than they work.
const TEST_THREADS: usize = 8;

/// Held for writing by the cases that send floods, for reading by those that end soon.
static FLOODS: RwLock<()> = RwLock::new(());

/// Runs the suite against a server's binary, for a test target with `harness = false`.
///
/// `binary` is `CARGO_BIN_EXE_…`, `manifest_dir` is `CARGO_MANIFEST_DIR`. Tests have names such as
/// `shared::resume::S6.01-resume-next`; the usual arguments of test binaries work, and
/// `--include-ignored` runs the cases that take a minute, too. Every case must pass or be listed in
/// the folder's `deviations.toml`; one that is listed and passes fails, and so does a skip that is
/// not listed: a server of this workspace offers all that a case may need.
pub fn test_binary(binary: &str, manifest_dir: &str) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(TEST_THREADS);
    let folder = Path::new(manifest_dir);
    let (servers, trials) = match trials(Path::new(binary), folder) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut ended_well = true;
    for server in servers {
        if let Err(words) = server.stop() {
            eprintln!("{words}");
            ended_well = false;
        }
    }
    if ended_well { conclusion.exit_code() } else { ExitCode::FAILURE }
}

type Trials = (Vec<Arc<Shared>>, Vec<Trial>);

fn trials(binary: &Path, folder: &Path) -> Result<Trials, String> {
    let packages = fleet::discover().map_err(|error| format!("{error:#}"))?;
    let package = packages.iter().find(|package| package.folder == folder).ok_or_else(|| {
        format!("{} has no [package.metadata.server] in its Cargo.toml", folder.display())
    })?;
    let deviations = Deviations::read(folder)?;
    let mut servers = Vec::new();
    let mut trials = Vec::new();
    for encoding in &package.encodings {
        let launch = conformance_launch(&package.launch(binary, encoding));
        let server = Arc::new(Shared { launch, running: Mutex::new(None) });
        let deviations = Arc::new(deviations.for_encoding(encoding));
        // Servers of the workspace leave HTTP/2 to a proxy.
        for case in cases().filter(|case| !case.needs.contains(&Need::Http2)) {
            let (server, deviations) = (Arc::clone(&server), Arc::clone(&deviations));
            let name = format!("{encoding}::{}::{}", case.category().name(), case.name());
            // Shown as ignored; `--include-ignored` runs them too.
            let waits = case.is_long(&Target::contract(([127, 0, 0, 1], 1).into(), None));
            let trial = Trial::test(name, move || {
                let target = server.target()?;
                // A flood beside it would spoil what a case times; a minute's wait spoils nothing.
                let (alone, beside) = match (case.is_flood(), case.is_long(&target)) {
                    (true, _) => (Some(FLOODS.write()), None),
                    (false, false) => (None, Some(FLOODS.read())),
                    (false, true) => (None, None),
                };
                let result = run_case(case, &target, &deviations);
                drop((alone, beside));
                judge(&result)
            });
            trials.push(trial.with_ignored_flag(waits));
        }
        servers.push(server);
    }
    Ok((servers, trials))
}

/// Adds the suite's options to a server's command line.
pub fn conformance_launch(launch: &Launch) -> Launch {
    // A short keep-alive, so that streams at rest show it and closed ones are noticed.
    launch.clone().with_args(["--conformance", "--keep-alive-ms", "500"])
}

/// One server an encoding, started by the first test that needs it: a filter may need none.
struct Shared {
    launch: Launch,
    running: Mutex<Option<Server>>,
}

impl Shared {
    fn target(&self) -> Result<Target, Failed> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match running.take() {
            Some(server) => server,
            None => Server::start(&self.launch).map_err(|error| format!("{error:#}"))?,
        };
        let target = Target::contract(server.addr(), Some(self.launch.clone()));
        *running = Some(server);
        Ok(target)
    }

    fn stop(&self) -> Result<(), String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(server) = running else { return Ok(()) };
        let stderr = server.stderr();
        let stopped = server.stop().map_err(|error| format!("{error:#}"))?;
        if stopped.status.success() {
            return Ok(());
        }
        Err(format!("after the cases the server ended with {}\n{stderr}", stopped.status))
    }
}

fn judge(result: &CaseResult) -> Result<(), Failed> {
    if result.is_unexpected(true) {
        return Err(failure_text(result, Paint::plain()).into());
    }
    if result.verdict == Verdict::Skip && result.deviation.is_none() {
        let reason = result.actual.as_deref().unwrap_or_default();
        return Err(format!("skipped, which must not read as green: {reason}").into());
    }
    Ok(())
}
