//! Runs the suite against a URL, or against servers of this workspace.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use client::arguments::RequestArgs;
use fleet::{Package, READY_DEADLINE, SMALLEST, Server, eventually};
use wire::Trust;

use super::{FailScope, ServerArgs};
use crate::command::{Kept, Progress, print};
use crate::report::{Paint, Run, counted, run_text};
use crate::server::again::{self, quoted};
use crate::server::deviations::is_case;
use crate::server::run::{Observer, check_observed};
use crate::server::{Case, Control, Need, Pace, Selection, Target, cases, conformance_launch};
use crate::{CaseResult, Deviations, Known, Profile, Summary, Verdict, judge};

/// Where the request bytes of failed cases go, in a folder for each run.
const REQUESTS: &str = "target/sse-conform";
/// How long to wait before asking again a server that does not answer yet.
const RETRY: Duration = Duration::from_millis(100);

/// Checks the server at a URL; with a blank run and a way to do it again, one that the suite starts there itself.
pub(super) fn url(
    args: &ServerArgs,
    url: &str,
    selection: &Selection,
    paint: Paint,
    kept: &Kept,
    started: Option<&Started<'_>>,
) -> Result<Run> {
    let shown = started.map_or(url, |it| it.blank.name.as_str());
    let patience = Duration::from_millis(args.patience_ms);
    let words = anyhow::Error::msg::<String>;
    let RequestArgs { cacert, insecure, server_name, .. } = args.request.clone();
    let trust = Trust { cacert, insecure, server_name };
    let mut target = Target::trusting(url, patience, &trust)
        .map_err(words)?
        .with_request(args.request.wanted().map_err(words)?)
        .with_scale(args.judge.time_scale)
        .with_prior_knowledge(args.http2)
        .owned(args.i_own_this_server)
        .keeping_bytes(args.keep_bytes)
        .with_max_requests(args.max_requests);
    if let Some(notice) = target.notice() {
        print(&format!("{shown}: {notice}\n"))?;
    }
    if let Some(keep_alive_ms) = args.keep_alive_ms {
        target = target.with_keep_alive(Duration::from_millis(keep_alive_ms));
    }
    if let Some(publication) = args.publishing.publication(&trust).map_err(words)? {
        target = target.with_publication(publication);
    }
    let deviations = match (baseline(args)?, started) {
        (Some(baseline), _) => baseline,
        (None, Some(it)) => it.deviations.clone(),
        (None, None) => Deviations::default(),
    };
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
        wait_for(&target, control.as_ref(), wait).map_err(|words| anyhow!(NoStream(words)))?;
    }
    let profile = args.profile.unwrap_or(match control {
        Some(_) => Profile::Full,
        None => Profile::Contract,
    });
    if let Some(control) = control {
        target = target.with_control(control);
    }
    let selection = selection.clone().with_profile(profile);
    let no_stream = |words| anyhow!(NoStream(words));
    // Several servers at a time have no line for each.
    let progress = |label: &str, total| started.is_none().then(|| Progress::quiet(label, total));
    let looking = progress(&format!("{}: what does it offer", target.host()), 0);
    let target = target.probe(&selection.needs()).map_err(no_stream)?;
    let target = target.with_its_concurrency().map_err(no_stream)?;
    drop(looking);
    let offers: Vec<_> = target.capabilities().iter().map(Need::to_string).collect();
    let offers = if offers.is_empty() { "a stream".to_owned() } else { offers.join(", ") };
    let selected = selection.cases(&target).len();
    let cases = counted(selected, "case", "cases");
    print(&format!("{shown}: offers {offers}; {cases}, profile {profile}\n"))?;
    for words in
        [target.head_words(), target.room_words(), target.one_at_a_time()].into_iter().flatten()
    {
        print(&format!("{words}\n"))?;
    }
    let progress = progress(target.host(), selected);
    let (blank, again, target) = match started {
        // No file of bytes: its process will be gone, and the command starts one by itself.
        Some(it) => (Run { profile: Some(profile), ..it.blank.clone() }, it.again.clone(), target),
        None => {
            let name = args.name.clone().unwrap_or_else(|| target.host().to_owned());
            let blank = blank(args, name, url, profile);
            let folder = Path::new(REQUESTS).join(blank.file_stem());
            (blank, again(args, url), target.with_requests(&folder))
        }
    };
    let scope = args.scope.unwrap_or(FailScope::Sse);
    let number = kept.begin(unjudged(blank.clone(), &selection.cases(&target), &deviations));
    let watch = Watch { progress: progress.as_ref(), kept, number, scope, example: None };
    let run = run(blank, &target, &selection, &deviations, &again, &watch);
    kept.end(number, &run);
    drop(progress);
    print(&run_text(&run, args.judge.verbose, paint))?;
    if target.budget().max() < u64::MAX {
        print(&format!("{shown}: {} requests were sent\n", target.budget().sent()))?;
    }
    Ok(run)
}

/// A server of others that the suite starts: what is known of it beside its URL.
pub(super) struct Started<'s> {
    /// Its run, with nothing judged.
    pub(super) blank: Run,
    /// Its known failures.
    pub(super) deviations: &'s Deviations,
    /// The command that checks it again.
    pub(super) again: String,
}

/// Checks servers of this workspace, each with each of its encodings and its smallest example.
pub(super) fn packages(
    args: &ServerArgs,
    chosen: &[Package],
    is_one: bool,
    selection: &Selection,
    paint: Paint,
    kept: &Kept,
) -> Result<Vec<Run>> {
    for (flag, is_given) in
        [("--wait", args.wait.is_some()), ("--keep-alive-ms", args.keep_alive_ms.is_some())]
    {
        if is_given {
            bail!("{flag} is not for servers of this workspace");
        }
    }
    let profile = args.profile.unwrap_or(Profile::Full);
    let selection = selection.clone().with_profile(profile);
    let baseline = baseline(args)?;
    let mut checks = Vec::new();
    for package in chosen {
        let mut encodings: Vec<&str> = package.encodings.iter().map(String::as_str).collect();
        encodings.extend(package.has_smallest().then_some(SMALLEST));
        let offered = encodings.join(", ");
        encodings.retain(|it| args.encoding.as_ref().is_none_or(|wanted| wanted == it));
        if encodings.is_empty() && is_one {
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
    run_all(&checks, &selection, args, paint, kept)
}

/// Runs the cases server by server, and beside them those of all servers that only wait.
fn run_all(
    checks: &[Check],
    selection: &Selection,
    args: &ServerArgs,
    paint: Paint,
    kept: &Kept,
) -> Result<Vec<Run>> {
    let scope = args.scope.unwrap_or(FailScope::All);
    let numbers: Vec<_> = checks
        .iter()
        .map(|check| {
            let all = selection.cases(&check.target);
            kept.begin(unjudged(check.blank.clone(), &all, &check.deviations))
        })
        .collect();
    let patient = selection.clone().with_pace(Pace::Waiting);
    let busy = selection.clone().with_pace(Pace::Busy);
    thread::scope(|threads| {
        let waiting: Vec<_> = checks
            .iter()
            .zip(&numbers)
            .map(|(check, &number)| {
                let example = check.example();
                let watch = Watch { progress: None, kept, number, scope, example };
                let patient = &patient;
                threads.spawn(move || check.run(patient, &watch))
            })
            .collect();
        let mut finished = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let label = format!("[{}/{}] {}", index + 1, checks.len(), check.blank.label());
            let progress = Progress::new(&label, busy.cases(&check.target).len());
            let number = numbers[index];
            let example = check.example();
            let watch = Watch { progress: Some(&progress), kept, number, scope, example };
            finished.push(check.run(&busy, &watch));
            progress.end();
        }
        let mut runs = Vec::new();
        for (waiting, run) in waiting.into_iter().zip(finished) {
            let run = run.and(waiting.join().expect("cases' panics are caught"));
            print(&run_text(&run, args.judge.verbose, paint))?;
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
            .with_request(args.request.wanted().map_err(anyhow::Error::msg)?)
            .with_scale(args.judge.time_scale)
            .keeping_bytes(args.keep_bytes);
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

    /// The version of the framework, if this is its smallest example.
    fn example(&self) -> Option<&str> {
        self.is_smallest.then(|| self.blank.framework.as_deref().unwrap_or_default())
    }

    fn run(&self, selection: &Selection, watch: &Watch<'_>) -> Run {
        let blank = self.blank.clone();
        // No file of bytes: this process will be gone, and the suite starts one by itself.
        run(blank, &self.target, selection, &self.deviations, &self.again, watch)
    }
}

fn run(
    blank: Run,
    target: &Target,
    selection: &Selection,
    deviations: &Deviations,
    again: &str,
    watch: &Watch<'_>,
) -> Run {
    let start = Instant::now();
    let mut results = check_observed(target, selection, deviations, watch);
    results.iter_mut().for_each(|result| watch.expect(result));
    for result in results.iter_mut().filter(|result| result.is_miss()) {
        result.reproduce.get_or_insert_with(|| format!("{again} --only {}", result.id));
    }
    blank.ended(start, results)
}

pub(super) fn blank(args: &ServerArgs, name: String, server: &str, profile: Profile) -> Run {
    Run {
        server: Some(server.to_owned()),
        profile: Some(profile),
        ..Run::begun(name, args.judge.strict, args.judge.time_scale)
    }
}

/// No server answered, or its answer is no stream: the words for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoStream(pub(super) String);

/// The report on the server at a URL before anything is judged.
pub(super) fn blank_of_url(args: &ServerArgs, url: &str) -> Run {
    let name = args.name.clone().unwrap_or_else(|| {
        url.split_once("://")
            .map_or(url, |(_, rest)| rest)
            .split('/')
            .next()
            .unwrap_or(url)
            .to_owned()
    });
    blank(args, name, url, args.profile.unwrap_or(Profile::Contract))
}

/// The report on a server that could not be checked.
pub(super) fn not_run(blank: Run, words: &str) -> Run {
    let first: Vec<_> = cases().take(1).collect();
    let mut run = unjudged(blank, &first, &Deviations::default());
    for result in &mut run.results {
        result.verdict = Verdict::Blocked;
        result.actual = Some(words.to_owned());
    }
    run.summary = Summary::of(&run.results, run.strict);
    run
}

/// The run with a result for each case, none of them judged.
fn unjudged(blank: Run, cases: &[&Case], deviations: &Deviations) -> Run {
    let results = cases.iter().map(|case| judge::blank(case, deviations)).collect();
    Run { results, ..blank }
}

/// The observer of a run: it shows how far it is, and keeps what was found.
struct Watch<'w> {
    progress: Option<&'w Progress>,
    kept: &'w Kept,
    number: usize,
    scope: FailScope,
    /// The version of an example: it is shown as it is.
    example: Option<&'w str>,
}

impl Watch<'_> {
    /// A failure outside the scope that counts, or of an example, is shown and fails no run.
    fn expect(&self, result: &mut CaseResult) {
        result.outside_scope = !result.scope.is_none_or(|scope| self.scope.has(scope));
        let Some(version) = self.example else { return };
        let listed = result.deviation.take();
        let actual = result.actual.as_deref().unwrap_or_default();
        let as_it_is = || Known {
            reason: format!("{actual}; the example is shown as it is"),
            upstream: None,
            version: version.to_owned(),
        };
        result.deviation = result.is_miss().then(|| listed.unwrap_or_else(as_it_is));
    }
}

impl Observer for Watch<'_> {
    fn begins(&self, case: &Case) {
        if let Some(progress) = self.progress {
            progress.begins(&case.name());
        }
    }

    fn ended(&self, result: &CaseResult) {
        let mut result = result.clone();
        self.expect(&mut result);
        self.kept.add(self.number, &result);
        if let Some(progress) = self.progress {
            progress.ends(&result.name());
        }
    }
}

/// The command that checks a URL again, but for the case. Values of headers may be secrets.
fn again(args: &ServerArgs, url: &str) -> String {
    let mut words = format!("sse-bench conform server {}", quoted(url));
    words += &again::of_request(&args.request);
    words += &again::of_publishing(&args.publishing);
    if args.http2 {
        words += " --http2";
    }
    if let Some(command) = &args.start_cmd {
        words += &format!(" --start-cmd {}", quoted(command));
    }
    if let Some(keep_alive_ms) = args.keep_alive_ms {
        words += &format!(" --keep-alive-ms {keep_alive_ms}");
    }
    if (args.judge.time_scale - 1.0).abs() > f64::EPSILON {
        words += &format!(" --time-scale {}", args.judge.time_scale);
    }
    words + &format!(" --patience-ms {}", args.patience_ms)
}

fn baseline(args: &ServerArgs) -> Result<Option<Deviations>> {
    let read = |path| Deviations::read_file(path, is_case).map_err(anyhow::Error::msg);
    args.judge.baseline.as_deref().map(read).transpose()
}

/// Waits until the server answers, or what was to start it has ended.
fn wait_for(target: &Target, control: Option<&Control>, wait: Duration) -> Result<(), String> {
    let look = || {
        let answer = target.answers_within(Duration::ZERO);
        match control.and_then(Control::ended).filter(|_| answer.is_err()) {
            Some(words) => {
                Ok(Err(format!("--start-cmd ended before the server answered: {words}")))
            }
            None => answer.map(Ok),
        }
    };
    let of_control =
        || control.and_then(Control::errors).map(|it| format!("; --start-cmd said: {it}"));
    eventually(wait, RETRY, look).map_err(|words| {
        let said = of_control().unwrap_or_default();
        format!(
            "no answer within {wait:?} ({words}); is the server running, is the URL right?{said}"
        )
    })?
}
