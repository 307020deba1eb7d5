//! Runs the suite against a URL, or against servers of this workspace.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fleet::{Package, READY_DEADLINE, SMALLEST, Server, eventually};

use super::ServerArgs;
use crate::command::{Progress, print};
use crate::report::{Paint, Run, run_text};
use crate::server::deviations::is_case;
use crate::server::{Control, Need, Pace, Selection, Target, check_each, conformance_launch};
use crate::{Deviations, Known, Profile, SUITE_VERSION, Summary};

/// Where the request bytes of failed cases go, in a folder for each run.
const REQUESTS: &str = "target/sse-conform";
/// How long to wait before asking again a server that does not answer yet.
const RETRY: Duration = Duration::from_millis(100);

/// Checks the server at a URL.
pub(super) fn url(
    args: &ServerArgs,
    url: &str,
    selection: &Selection,
    paint: Paint,
) -> Result<Vec<Run>> {
    let patience = Duration::from_millis(args.patience_ms);
    let words = anyhow::Error::msg::<String>;
    let mut target = Target::url(url, patience)
        .map_err(words)?
        .with_headers(&args.headers)
        .with_scale(args.time_scale)
        .owned(args.i_own_this_server);
    if let Some(keep_alive_ms) = args.keep_alive_ms {
        target = target.with_keep_alive(Duration::from_millis(keep_alive_ms));
    }
    let deviations = baseline(args)?.unwrap_or_default();
    if let Some(encoding) = &args.encoding {
        bail!("--encoding {encoding} is for servers of this workspace; leave it out with a URL");
    }
    let control = match (&args.start_cmd, args.pid) {
        (None, None) => None,
        _ if !target.is_loopback() && !target.is_own() => {
            bail!("{url} is not on this host; --i-own-this-server says that it may be stopped")
        }
        (Some(command), _) => {
            if target.answers_within(Duration::ZERO).is_ok() {
                bail!("{url} answers already; stop that server, or use --pid instead");
            }
            Some(Control::shell(command).context("cannot run sh")?)
        }
        (_, Some(pid)) => Some(Control::pid(pid).map_err(words)?),
    };
    let wait = args.wait.or(args.start_cmd.as_ref().map(|_| READY_DEADLINE));
    if let Some(wait) = wait {
        wait_for(&target, control.as_ref(), wait)?;
    }
    let profile = args.profile.unwrap_or(match control {
        Some(_) => Profile::Full,
        None => Profile::Contract,
    });
    if let Some(control) = control {
        target = target.with_control(control);
    }
    let target = target.probe(profile.needs()).map_err(words)?;
    let selection = selection.clone().with_profile(profile);
    let offers: Vec<_> = target.capabilities().iter().map(Need::to_string).collect();
    let offers = if offers.is_empty() { "a stream".to_owned() } else { offers.join(", ") };
    let selected = selection.cases(&target).len();
    print(&format!("{url}: offers {offers}; {selected} cases, profile {profile}\n"))?;
    let name = args.name.clone().unwrap_or_else(|| target.host().to_owned());
    let blank = blank(args, name, url, profile);
    let progress = Progress::on_terminal(target.host(), selected);
    let target = target.with_requests(&Path::new(REQUESTS).join(blank.file_stem()));
    let again = "the same command with";
    let run = run(blank, &target, &selection, &deviations, again, &|| progress.step());
    progress.end();
    print(&run_text(&run, args.verbose, paint))?;
    Ok(vec![run])
}

/// Checks servers of this workspace, each with each of its encodings and its smallest example.
pub(super) fn packages(
    args: &ServerArgs,
    name: &str,
    selection: &Selection,
    paint: Paint,
) -> Result<Vec<Run>> {
    for (flag, is_given) in [
        ("--start-cmd", args.start_cmd.is_some()),
        ("--pid", args.pid.is_some()),
        ("--wait", args.wait.is_some()),
        ("--keep-alive-ms", args.keep_alive_ms.is_some()),
    ] {
        if is_given {
            bail!("{flag} needs the URL of a server; {name:?} is started by the suite itself");
        }
    }
    let all = fleet::discover()?;
    let chosen: Vec<&Package> = match name {
        "all" => all.iter().collect(),
        name => {
            vec![fleet::find(&all, name).context("neither a URL (http://…) nor a known name")?]
        }
    };
    let profile = args.profile.unwrap_or(Profile::Full);
    let selection = selection.clone().with_profile(profile);
    let baseline = baseline(args)?;
    let mut checks = Vec::new();
    for package in chosen {
        let mut encodings: Vec<&str> = package.encodings.iter().map(String::as_str).collect();
        encodings.extend(package.has_smallest().then_some(SMALLEST));
        let offered = encodings.join(", ");
        encodings.retain(|it| args.encoding.as_ref().is_none_or(|wanted| wanted == it));
        if encodings.is_empty() && name != "all" {
            bail!("{} has no such encoding; choose one of: {offered}", package.name);
        }
        if encodings.is_empty() {
            continue;
        }
        let deviations = match &baseline {
            Some(baseline) => baseline.clone(),
            None => Deviations::read(&package.folder).map_err(anyhow::Error::msg)?,
        };
        eprintln!("building {}", package.name);
        for encoding in encodings {
            checks.push(Check::start(args, &selection, package, encoding, &deviations)?);
        }
    }
    if checks.is_empty() {
        bail!("no server has the encoding {:?}", args.encoding.as_deref().unwrap_or(""));
    }
    run_all(&checks, &selection, args.verbose, paint)
}

/// Runs the cases server by server, and beside them those of all servers that only wait.
fn run_all(
    checks: &[Check],
    selection: &Selection,
    verbose: bool,
    paint: Paint,
) -> Result<Vec<Run>> {
    let patient = selection.clone().with_pace(Pace::Waiting);
    let busy = selection.clone().with_pace(Pace::Busy);
    thread::scope(|scope| {
        let waiting: Vec<_> =
            checks.iter().map(|check| scope.spawn(|| check.run(&patient, &|| ()))).collect();
        let mut finished = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let label = format!("[{}/{}] {}", index + 1, checks.len(), check.blank.label());
            let progress = Progress::new(&label, busy.cases(&check.target).len());
            finished.push(check.run(&busy, &|| progress.step()));
            progress.end();
        }
        let mut runs = Vec::new();
        for (waiting, run) in waiting.into_iter().zip(finished) {
            let run = run.and(waiting.join().expect("cases' panics are caught"));
            print(&run_text(&run, verbose, paint))?;
            runs.push(run);
        }
        Ok(runs)
    })
}

/// A server that runs, and what is expected of it.
struct Check {
    blank: Run,
    target: Target,
    deviations: Deviations,
    /// An example is shown beside the server: its misses are no surprise.
    is_smallest: bool,
    /// The command that checks it again.
    again: String,
    /// Ends with this value. How it ends is judged by category 11.
    _server: Server,
}

impl Check {
    fn start(
        args: &ServerArgs,
        selection: &Selection,
        package: &Package,
        encoding: &str,
        deviations: &Deviations,
    ) -> Result<Check> {
        let is_smallest = encoding == SMALLEST;
        let launch = if is_smallest {
            fleet::build_smallest(package, args.release)?
        } else {
            let binary = fleet::build(package, args.release)?;
            conformance_launch(&package.launch(&binary, encoding))
        };
        let (short, release) = (package.short_name(), if args.release { " --release" } else { "" });
        let again = format!("sse-bench conform server {short} --encoding {encoding}{release}");
        let server = Server::start(&launch)?;
        let target = match is_smallest {
            true => Target::only_ticks(server.addr(), launch),
            false => Target::contract(server.addr(), Some(launch)),
        };
        let target = target
            .with_patience(Duration::from_millis(args.patience_ms))
            .with_headers(&args.headers)
            .with_scale(args.time_scale);
        let name = args.name.clone().unwrap_or_else(|| short.to_owned());
        let framework = format!("{} {}", package.framework, package.framework_version);
        let blank = Run {
            encoding: Some(encoding.to_owned()),
            framework: Some(framework),
            ..blank(args, name, &package.name, selection.profile())
        };
        let deviations = deviations.for_encoding(encoding);
        Ok(Check { blank, target, deviations, is_smallest, again, _server: server })
    }

    fn run(&self, selection: &Selection, step: &(dyn Fn() + Sync)) -> Run {
        let blank = self.blank.clone();
        // No file of bytes: this process will be gone, and the suite starts one by itself.
        let mut run = run(blank, &self.target, selection, &self.deviations, &self.again, step);
        if self.is_smallest {
            let version = run.framework.clone().unwrap_or_default();
            for result in &mut run.results {
                let listed = result.deviation.take();
                let actual = result.actual.as_deref().unwrap_or_default();
                let as_it_is = || Known {
                    reason: format!("{actual}; the example is shown as it is"),
                    upstream: None,
                    version: version.clone(),
                };
                result.deviation = result.is_miss().then(|| listed.unwrap_or_else(as_it_is));
            }
            run.summary = Summary::of(&run.results, run.strict);
        }
        run
    }
}

fn run(
    blank: Run,
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    again: &str,
    step: &(dyn Fn() + Sync),
) -> Run {
    let start = Instant::now();
    let mut results = check_each(target, selection, deviations, &|_| step());
    for result in results.iter_mut().filter(|result| result.is_miss()) {
        result.reproduce.get_or_insert_with(|| format!("{again} --only {}", result.id));
    }
    Run {
        took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        summary: Summary::of(&results, blank.strict),
        results,
        ..blank
    }
}

fn blank(args: &ServerArgs, name: String, server: &str, profile: Profile) -> Run {
    Run {
        name,
        server: Some(server.to_owned()),
        client: None,
        encoding: None,
        framework: None,
        suite_version: SUITE_VERSION,
        profile: Some(profile),
        strict: args.strict,
        time_scale: args.time_scale,
        began: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        took_ms: 0,
        summary: Summary::default(),
        results: Vec::new(),
    }
}

fn baseline(args: &ServerArgs) -> Result<Option<Deviations>> {
    let read = |path| Deviations::read_file(path, is_case).map_err(anyhow::Error::msg);
    args.baseline.as_deref().map(read).transpose()
}

/// Waits until the server answers, or what was to start it has ended.
fn wait_for(target: &Target, control: Option<&Control>, wait: Duration) -> Result<()> {
    let look = || {
        let answer = target.answers_within(Duration::ZERO);
        match control.and_then(Control::ended).filter(|_| answer.is_err()) {
            Some(status) => Ok(Err(anyhow!(
                "--start-cmd ended ({status}) before the server answered; try it by hand"
            ))),
            None => answer.map(Ok),
        }
    };
    eventually(wait, RETRY, look).map_err(|words| {
        anyhow!("no answer within {wait:?} ({words}); is the server running, is the URL right?")
    })?
}
