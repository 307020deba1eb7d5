//! `sse-bench conform client`.

mod baseline;
mod progress;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::baseline::baseline_text;
use self::progress::Progress;
use super::cases::is_case;
use super::driver::{Capability, Driver};
use super::exec::{Description, Exec};
use super::run::{CASE_LIMIT, PARALLEL, Plan, check};
use super::{RULES, adapter_check, cases, explain, folder};
use crate::Deviations;
use crate::case::check_words;
use crate::command::{JudgeArgs, Outputs, could_not_run, finish, print};
use crate::report::{Paint, Run, run_text, write};

/// Which client to check, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("subject").required(true)
    .args(["client", "cmd", "service", "serve", "explain"]))]
#[command(override_usage = "\
sse-bench conform client [OPTIONS] <NAME|all>
       sse-bench conform client [OPTIONS] --cmd <COMMAND>
       sse-bench conform client [OPTIONS] --service <URL>
       sse-bench conform client [OPTIONS] --serve [<ADDRESS>]
       sse-bench conform client --explain <CASE>")]
#[command(after_help = "\
Examples:
  sse-bench conform client --cmd ./adapter                    a command
  sse-bench conform client --cmd ./adapter --check-adapter    is it right?
  sse-bench conform client --cmd ./adapter --only C3,C6.05 --verbose
  sse-bench conform client --cmd ./adapter \\
    --write-baseline known.toml                               failures of today
  sse-bench conform client --cmd ./adapter --caps R,Cm        instead of asking
  sse-bench conform client --service http://localhost:8000    a test service
  sse-bench conform client --serve                            any browser
  sse-bench conform client all --html matrix.html             all clients here
  sse-bench conform client --explain C4.01                    a case, in words

An adapter gets the URL as its last argument, and the id of the case in SSE_CASE. It prints a \
JSON object on a line for each thing that it sees:
  {\"k\":\"open\"}                      an answer was accepted
  {\"k\":\"event\",\"type\",\"data\",\"id\"}  an event
  {\"k\":\"comment\",\"text\"}            a comment
  {\"k\":\"error\",\"fatal\"}             a connection failed or ended
  {\"k\":\"state\",\"v\"}                 readyState has changed
  {\"k\":\"closed\"}                    it is over for good

A line {\"cmd\":\"close\"} on its standard input asks it to close. More is in \
bench/clients/README.md.

A test service speaks the REST protocol of launchdarkly/sse-contract-tests. For a browser, open \
the page that --serve names.

Verdicts:
  PASS        the client keeps the rule
  FAIL        a requirement failed
  NON-STRICT  a recommendation failed
  INFO        a fact
  SKIP        the client does not offer what the case needs, or a case that it
              rests on failed
  ADAPTER     the adapter crashed, or a line of its output is wrong
  ERROR       the harness failed
  KNOWN       a failure that is listed as known

Exit codes:
  0  all as expected
  1  an unexpected result
  2  could not run
  3  self-check failed")]
pub struct ClientArgs {
    /// A folder of bench/clients, or `all` of them
    #[arg(value_name = "NAME|all")]
    pub client: Option<String>,
    /// A client that is a command
    #[arg(long, value_name = "COMMAND")]
    pub cmd: Option<String>,
    /// A client behind the REST protocol of launchdarkly/sse-contract-tests
    #[arg(long, value_name = "URL")]
    pub service: Option<String>,
    /// A page that checks the browser which opens it
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:9400")]
    pub serve: Option<SocketAddr>,
    /// Say what a case sends, expects and rests on, and how to fix a client that fails it
    #[arg(long, value_name = "CASE")]
    pub explain: Option<String>,

    /// Capabilities of the client, without asking it: R reconnects, St readyState, Cm comments, Hd
    /// headers, Bd method and body, To read timeout, Id initial id, Br browser, Lm size limit, Gz
    /// gzip, Ch close within a handler; `none` for nothing
    #[arg(long, value_name = "R,Cm,…", value_delimiter = ',', requires = "cmd")]
    pub caps: Vec<String>,
    /// Only these cases: an id (C2.07), a category (C3 or fields) or a slug
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How results are judged
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Write the failures of this run as known ones, for --baseline
    #[arg(long, help_heading = "Judging", value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,

    /// Check the adapter instead of the client: what it prints for one event, for close, at the end
    #[arg(long)]
    pub check_adapter: bool,
    /// How long to wait for each step of the client, milliseconds [default: 5000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub patience_ms: Option<u64>,
    /// How long one case may take, seconds [default: 300]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub case_limit_s: Option<u64>,
    /// How many clients may run at a time [default: 8, 1 with --service, or what client.toml says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: Option<u16>,

    /// Where the results go
    #[command(flatten)]
    pub outputs: Outputs,
    /// The client's name in reports
    #[arg(long, help_heading = "Output")]
    pub name: Option<String>,
}

/// Default patience, milliseconds.
const PATIENCE_MS: u64 = 5000;
const PAGE_PATIENCE_MS: u64 = 15_000;

/// A client that is ready to be checked.
struct Subject {
    driver: Arc<dyn Driver>,
    name: String,
    /// The command, or what else it is driven by.
    by: String,
    version: Option<String>,
    /// The argument that names it.
    argument: String,
    deviations: Deviations,
    patience_ms: Option<u64>,
}

/// Checks one client, or all of `bench/clients`, and prints a report.
///
/// # Errors
/// Only for output that cannot be written; what cannot be checked is exit code 2.
pub fn run_client(args: &ClientArgs) -> Result<ExitCode> {
    if let Some(word) = &args.explain {
        if let Err(words) = check_words([word], "clients", cases, RULES) {
            return could_not_run(&words);
        }
        let found = cases().filter(|case| case.matches(word));
        let paint = Paint::for_stdout();
        print(&found.map(|it| explain::explain(it, paint)).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan {
        only: args.only.clone(),
        skip: args.judge.skip.clone(),
        patience: Duration::from_millis(args.patience_ms.unwrap_or(PATIENCE_MS)),
        scale: args.judge.time_scale,
        case_limit: args.case_limit_s.map_or(CASE_LIMIT, Duration::from_secs),
        stopped: fleet::stopped_by_signals()?,
        again: String::new(),
    };
    let plan = match plan.checked() {
        Ok(plan) => plan,
        Err(words) => return could_not_run(&words),
    };
    let paint = Paint::for_stdout();
    let subjects = match subjects(args) {
        Ok(subjects) => subjects,
        Err(error) => return could_not_run(&format!("{error:#}")),
    };
    if args.write_baseline.is_some() && subjects.len() > 1 {
        return could_not_run("--write-baseline is for one client; name it instead of all");
    }
    if args.check_adapter {
        let outcomes: Vec<_> = subjects.iter().map(|it| adapter_is_right(&plan, it)).collect();
        let all = outcomes.into_iter().collect::<Result<Vec<_>>>()?.into_iter().all(|it| it);
        return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (mut runs, mut planned) = (Vec::new(), 0);
    for subject in &subjects {
        let run = checked(args, &plan, subject);
        print(&run_text(&run, args.judge.verbose, paint))?;
        runs.push(run);
        planned += plan.cases().len();
    }
    if let Some(path) = &args.write_baseline {
        let results = runs.iter().flat_map(|run| &run.results);
        let version = runs.iter().find_map(|run| run.framework.clone()).unwrap_or_default();
        write(path, &baseline_text(results, &version)?)?;
    }
    let ended: usize = runs.iter().map(|run| run.results.len()).sum();
    let exit = finish(runs, &args.outputs, paint)?;
    if plan.stopped.load(Ordering::Relaxed) {
        return could_not_run(&format!("stopped after {ended} of {planned} cases; they are kept"));
    }
    Ok(exit)
}

/// Checks the adapter of a client, and prints each step.
fn adapter_is_right(plan: &Plan, subject: &Subject) -> Result<bool> {
    let capabilities = subject.driver.capabilities().iter().map(ToString::to_string);
    let capabilities: Vec<_> = capabilities.collect();
    let version = subject.version.as_deref().unwrap_or("of no version");
    print(&format!("ok    describe: {} {version}, {}\n", subject.name, capabilities.join(", ")))?;
    let mut is_right = true;
    for step in adapter_check::steps(&subject.driver, plan) {
        let line = match &step.outcome {
            Ok(()) => format!("ok    {}: {}\n", step.name, step.demand),
            Err(words) => format!("WRONG {}: {}; {words}\n", step.name, step.demand),
        };
        is_right &= step.outcome.is_ok();
        print(&line)?;
    }
    Ok(is_right)
}

fn subjects(args: &ClientArgs) -> Result<Vec<Subject>> {
    let read = |path| Deviations::read_file(path, is_case);
    let baseline = args.judge.baseline.as_deref().map(read).transpose();
    let baseline = baseline.map_err(anyhow::Error::msg)?;
    let mut subjects = match (&args.client, &args.cmd, &args.service, args.serve) {
        (Some(name), ..) => folders(name, args.parallel)?,
        (_, Some(command), ..) => vec![command_of(args, command)?],
        (_, _, Some(url), _) => vec![service_of(url, args.parallel)?],
        (_, _, _, Some(address)) => vec![page_at(address)?],
        _ => unreachable!("clap demands one of them"),
    };
    for subject in &mut subjects {
        if let Some(baseline) = &baseline {
            subject.deviations = baseline.clone();
        }
        if let Some(name) = &args.name {
            subject.name.clone_from(name);
        }
    }
    Ok(subjects)
}

fn folders(name: &str, parallel: Option<u16>) -> Result<Vec<Subject>> {
    let all = folder::all()?;
    let names: Vec<_> = all.iter().map(|it| it.name.clone()).collect();
    let chosen: Vec<_> = all.into_iter().filter(|it| name == "all" || it.name == name).collect();
    if chosen.is_empty() {
        let near = fleet::did_you_mean(name, names.iter().map(String::as_str));
        let names = names.join(", ");
        anyhow::bail!("no client {name:?} in bench/clients{near}; there are: {names}");
    }
    let ready = |folder: &folder::Folder| {
        let (exec, description) = folder.ready(parallel)?;
        Ok(Subject {
            name: description.name.unwrap_or_else(|| folder.name.clone()),
            by: exec.typed().to_owned(),
            version: description.version,
            argument: folder.name.clone(),
            deviations: folder.deviations()?,
            patience_ms: folder.patience_ms(),
            driver: Arc::new(exec),
        })
    };
    chosen.iter().map(ready).collect()
}

fn command_of(args: &ClientArgs, command: &str) -> Result<Subject> {
    let parallel = args.parallel.map_or(PARALLEL, usize::from);
    let exec = Exec::shell(command, parallel);
    let description = match args.caps.as_slice() {
        [] => exec.describe()?,
        caps => Description {
            capabilities: caps
                .iter()
                .filter(|it| !it.is_empty() && *it != "none")
                .map(|it| it.parse::<Capability>().map_err(anyhow::Error::msg))
                .collect::<Result<_>>()?,
            ..Description::default()
        },
    };
    let quoted = command.replace('\'', "'\\''");
    let caps = match args.caps.as_slice() {
        [] => String::new(),
        caps => format!(" --caps {}", caps.join(",")),
    };
    let first = command.split(' ').next().unwrap_or(command);
    let stem = std::path::Path::new(first).file_name().and_then(|it| it.to_str()).unwrap_or(first);
    Ok(Subject {
        name: description.name.clone().unwrap_or_else(|| stem.to_owned()),
        by: command.to_owned(),
        version: description.version.clone(),
        argument: format!("--cmd '{quoted}'{caps}"),
        deviations: Deviations::default(),
        patience_ms: None,
        driver: Arc::new(exec.with_capabilities(&description.capabilities)),
    })
}

fn service_of(url: &str, parallel: Option<u16>) -> Result<Subject> {
    let service = super::service::Service::find(url, parallel)
        .with_context(|| format!("cannot use {url}"))?;
    Ok(Subject {
        name: service.name().to_owned(),
        by: url.to_owned(),
        version: None,
        argument: format!("--service {url}"),
        deviations: Deviations::default(),
        patience_ms: None,
        driver: Arc::new(service),
    })
}

fn page_at(address: SocketAddr) -> Result<Subject> {
    let page = super::browser::Page::serve(address)?;
    print(&format!("open {} in the browser to check\n", page.url()))?;
    let browser = page.wait();
    Ok(Subject {
        name: browser.name,
        by: browser.agent,
        version: browser.version,
        argument: "--serve".to_owned(),
        deviations: Deviations::default(),
        // All event sources share one thread of the page.
        patience_ms: Some(PAGE_PATIENCE_MS),
        driver: Arc::new(page),
    })
}

fn checked(args: &ClientArgs, plan: &Plan, subject: &Subject) -> Run {
    let mut plan = plan.clone();
    if let (None, Some(patience_ms)) = (args.patience_ms, subject.patience_ms) {
        plan.patience = Duration::from_millis(patience_ms);
    }
    plan.again = format!("sse-bench conform client {}", subject.argument);
    let progress = Progress::new(&subject.name, &plan.cases());
    let begun = Run {
        client: Some(subject.by.clone()),
        framework: subject.version.as_ref().map(|it| format!("{} {it}", subject.name)),
        ..Run::begun(subject.name.clone(), args.judge.strict, args.judge.time_scale)
    };
    let start = Instant::now();
    let results =
        check(&subject.driver, &plan, &subject.deviations, &|result| progress.step(result));
    progress.end();
    begun.ended(start, results)
}
