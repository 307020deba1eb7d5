//! `sse-bench conform cluster`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use client::arguments::{RequestArgs, time};
use fleet::{READY_DEADLINE, eventually};
use wire::publish::PublishArgs;
use wire::{Budget, Trust};

use super::explain::explain;
use super::run::check_each;
use super::{Case, Choice, Cluster, Power, cases};
use crate::case::check_words;
use crate::command::{JudgeArgs, Kept, Outputs, Progress, could_not_run, finish, print};
use crate::report::{Document, Paint, Run, counted, run_text};
use crate::server::RULES;
use crate::server::Target;
use crate::server::again::{self, quoted};
use crate::{CaseResult, Deviations, Summary, Verdict, judge};

/// How long to wait before asking again a node that does not answer yet.
const RETRY: Duration = Duration::from_millis(100);
/// The most requests to nodes on other hosts, unless their user says that they are the user's own: all cases
/// that kill nothing send fewer.
const FOREIGN_MAX: u64 = 600;

/// Which nodes to check, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The nodes should behave like one server: a text that is published at one comes out at all, under \
one id, and a reader goes on at another node.

A path in --publish, such as /say, is one at each node. In a URL or a command, {node} (1, 2, …) \
and {port} name a node; without them all texts go to one place. Topics of this project need no \
option.

Examples:
  sse-bench conform cluster http://10.0.0.1/room http://10.0.0.2/room \\
    --publish /say --publish-body '{\"text\":{json}}'
  sse-bench conform cluster URL URL URL \\
    --publish-cmd 'redis-cli PUBLISH room {text}'
  sse-bench conform cluster \\
    http://127.0.0.1:3001/room http://127.0.0.1:3002/room --publish /say \\
    --start-cmd 'PORT={port} node server.js'    starts the nodes, kills them
  sse-bench conform cluster URL URL --publish /say \\
    --kill-cmd 'docker kill sse-{node}' --start-cmd 'docker start sse-{node}'
  sse-bench conform cluster \\
    http://127.0.0.1:8003/messages/a \\
    http://127.0.0.1:8006/messages/a            nodes of this project
  sse-bench conform cluster URL URL --publish /say --only S13.08 --verbose
  sse-bench conform cluster --explain S13.08    a case, in words

Verdicts are those of sse-bench conform server. MUST* binds nodes that serve this project's \
topics. To others it is advice, and a failure is NON-STRICT; --strict makes it count.

Exit codes:
  0  all as expected
  1  an unexpected result
  2  could not run, or judged nothing
  3  self-check failed")]
pub struct ClusterArgs {
    /// The URLs of the same stream at each node, two or more
    #[arg(value_name = "URL", required_unless_present = "explain")]
    pub nodes: Vec<String>,
    /// Say what a case does, expects and rests on, and how to fix nodes that fail it
    #[arg(long, value_name = "CASE")]
    pub explain: Option<String>,

    /// Only these cases: an id (S13.08) or a slug
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How results are judged
    #[command(flatten)]
    pub judge: JudgeArgs,

    /// How long to wait until the nodes answer, for instance 30s
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub wait: Option<Duration>,
    /// How long to wait for each answer, and for a text at another node, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub patience_ms: u64,
    /// The time between the keep-alive comments, where it can be set to a short one
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub keep_alive_ms: Option<u64>,
    /// Send no more requests than this [default: 600 if a node is on another host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: Option<u64>,

    /// Kill a node with this shell command, without a farewell; {node} is its number, {port} the port of
    /// its URL. Or give it once for each node
    #[arg(long, value_name = "COMMAND")]
    pub kill_cmd: Vec<String>,
    /// Start a node with this shell command, likewise. Without --kill-cmd the suite starts all nodes
    /// with it, and kills them by SIGKILL
    #[arg(long, value_name = "COMMAND")]
    pub start_cmd: Vec<String>,
    /// Floods and kills may be sent though a node is not on this host, and any number of requests
    #[arg(long)]
    pub i_own_this_server: bool,

    /// How to publish. A path (/say) is one at each node; {node} (1, 2, …) and {port} name a node in a
    /// URL or a command; without them all texts go to one place. Topics of this project need no option
    #[command(flatten)]
    pub publishing: PublishArgs,
    /// The request that opens the stream
    #[command(flatten)]
    pub request: RequestArgs,
    /// Where else the results go
    #[command(flatten)]
    pub outputs: Outputs,
    /// The name of the cluster in reports
    #[arg(long, help_heading = "Output")]
    pub name: Option<String>,
}

/// Checks nodes, and prints a report.
///
/// # Errors
/// Only for output that cannot be written; what cannot be checked is exit code 2.
pub fn run_cluster(args: &ClusterArgs) -> Result<ExitCode> {
    if let Some(word) = &args.explain {
        if let Err(words) = check_words([word], "nodes", cases, RULES) {
            return could_not_run(&words);
        }
        let found = cases().filter(|case| case.matches(word));
        let paint = Paint::for_stdout();
        print(&found.map(|it| explain(it, paint)).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::for_stdout();
    match checked(args, paint) {
        Ok(run) => finish(vec![run], &args.outputs, paint),
        Err(error) => {
            // That it could not run is a result, too, for a report that is read later.
            if args.outputs.is_any() && args.nodes.len() > 1 {
                let run = not_run(args, &format!("{error:#}"));
                args.outputs.write(&Document::new(vec![run]))?;
            }
            could_not_run(&format!("{error:#}"))
        }
    }
}

fn checked(args: &ClusterArgs, paint: Paint) -> Result<Run> {
    let choice = Choice::new(&args.only, &args.judge.skip).map_err(anyhow::Error::msg)?;
    let is_case = |id: &str| cases().any(|case| case.id == id);
    let read = |path| Deviations::read_file(path, is_case).map_err(anyhow::Error::msg);
    let deviations = args.judge.baseline.as_deref().map(read).transpose()?.unwrap_or_default();
    let kept = Kept::on_signals(&args.outputs, args.judge.verbose, paint)?;
    let cluster = cluster(args)?;
    let means: Vec<_> = cluster.means().iter().map(ToString::to_string).collect();
    let means = if means.is_empty() { "streams".to_owned() } else { means.join(", ") };
    let count = choice.cases().len();
    let label = format!("{} nodes", cluster.nodes().len());
    print(&format!("{label}: {means}; {}\n", counted(count, "case", "cases")))?;
    if let Some(words) = cluster.nodes()[0].target().room_words() {
        print(&format!("{words}\n"))?;
    }
    let progress = Progress::quiet(&label, count);
    let blank = blank(args);
    let results = choice.cases().into_iter().map(|case| judge::blank(case, &deviations)).collect();
    let number = kept.begin(Run { results, ..blank.clone() });
    let begins = |case: &Case| progress.begins(&case.name());
    let ended = |result: &CaseResult| {
        kept.add(number, result);
        progress.ends(&result.name());
    };
    let start = Instant::now();
    let mut results = check_each(&cluster, &choice, &deviations, &begins, &ended);
    for result in results.iter_mut().filter(|it| it.is_miss()) {
        result.reproduce = Some(format!("{} --only {}", again(args), result.id));
    }
    progress.end();
    let run = blank.ended(start, results);
    print(&run_text(&run, args.judge.verbose, paint))?;
    Ok(run)
}

/// The nodes of the command line, those of `--start-cmd` started.
fn cluster(args: &ClusterArgs) -> Result<Cluster> {
    if args.nodes.len() < 2 {
        bail!("a cluster has two nodes or more: give the URL of each; conform server judges one");
    }
    let words = anyhow::Error::msg::<String>;
    let powers = powers(args)?;
    let mut nodes = Vec::new();
    for (index, (url, power)) in args.nodes.iter().zip(powers).enumerate() {
        let target = target(args, index, url).map_err(words)?;
        let starts = power.kill.is_some() && args.kill_cmd.is_empty();
        let wait = args.wait.or(starts.then_some(READY_DEADLINE));
        if let Some(wait) = wait {
            let answers = || target.answers_within(Duration::ZERO);
            eventually(wait, RETRY, answers).map_err(|error| {
                anyhow::anyhow!("{url} did not answer within {wait:?} ({error})")
            })?;
        }
        nodes.push((target, power));
    }
    let is_foreign = nodes.iter().any(|(target, _)| !target.is_at_home());
    let usual = if is_foreign { FOREIGN_MAX } else { u64::MAX };
    let budget = Budget::new(args.max_requests.unwrap_or(usual));
    if budget.max() < u64::MAX {
        print(&format!("at most {} requests will be sent (--max-requests)\n", budget.max()))?;
    }
    Cluster::new(nodes, speaks_at_each(args), &budget).map_err(words)
}

/// The node at a URL, with its way to publish.
fn target(args: &ClusterArgs, index: usize, url: &str) -> Result<Target, String> {
    let RequestArgs { cacert, insecure, server_name, .. } = args.request.clone();
    let trust = Trust { cacert, insecure, server_name };
    let patience = Duration::from_millis(args.patience_ms);
    let mut target = Target::trusting(url, patience, &trust)?
        .with_request(args.request.wanted()?)
        .with_scale(args.judge.time_scale)
        .owned(args.i_own_this_server);
    if let Some(keep_alive_ms) = args.keep_alive_ms {
        target = target.with_keep_alive(Duration::from_millis(keep_alive_ms));
    }
    let mut publishing = args.publishing.clone();
    let path = target.path().split('?').next().unwrap_or_default();
    if is_silent(&publishing) && path.starts_with("/messages/") {
        publishing.publish = Some(path.to_owned());
    }
    let of_node = |text: &String| match text.starts_with('/') {
        true => target.absolute(text),
        false => for_node(text, index, url),
    };
    publishing.publish = publishing.publish.as_ref().map(of_node);
    publishing.publish_cmd = publishing.publish_cmd.map(|it| for_node(&it, index, url));
    let publication = publishing.publication(&trust)?;
    Ok(match publication {
        Some(publication) => target.with_publication(publication),
        None => target,
    })
}

fn is_silent(publishing: &PublishArgs) -> bool {
    publishing.publish.is_none() && publishing.publish_cmd.is_none()
}

/// Whether each node has a way to publish of its own.
fn speaks_at_each(args: &ClusterArgs) -> bool {
    let names_a_node = |text: &String| text.contains("{node}") || text.contains("{port}");
    let PublishArgs { publish, publish_cmd, .. } = &args.publishing;
    is_silent(&args.publishing)
        || publish.as_ref().is_some_and(|it| it.starts_with('/') || names_a_node(it))
        || publish_cmd.as_ref().is_some_and(names_a_node)
}

/// A text in which `{node}` is the number of the node, from 1, and `{port}` the port of its URL.
fn for_node(text: &str, index: usize, url: &str) -> String {
    let location = wire::Location::parse(url).ok();
    let port = location.as_ref().and_then(|it| it.address.rsplit_once(':')).map(|(_, port)| port);
    let text = text.replace("{node}", &(index + 1).to_string());
    port.map_or_else(|| text.clone(), |port| text.replace("{port}", port))
}

/// The ways to kill and to start each node.
fn powers(args: &ClusterArgs) -> Result<Vec<Power>> {
    let kills = commands("--kill-cmd", &args.kill_cmd, &args.nodes)?;
    let starts = commands("--start-cmd", &args.start_cmd, &args.nodes)?;
    let is_home = |url: &String| {
        Target::url(url, RETRY).is_ok_and(|it| it.is_loopback()) || args.i_own_this_server
    };
    let has_power = !(args.kill_cmd.is_empty() && args.start_cmd.is_empty());
    if let Some(url) = args.nodes.iter().find(|url| has_power && !is_home(url)) {
        bail!("{url} is not on this host; --i-own-this-server says that it may be killed");
    }
    let power =
        |((kill, start), url): ((Option<String>, Option<String>), &String)| match (kill, start) {
            (None, Some(start)) => {
                let target = Target::url(url, RETRY).map_err(anyhow::Error::msg)?;
                if target.connect().is_ok() {
                    bail!("{url} runs already; stop it, or give --kill-cmd as well");
                }
                Power::of_started(&start).map_err(anyhow::Error::msg)
            }
            (kill, start) => Ok(Power::of_running(kill, start)),
        };
    kills.into_iter().zip(starts).zip(&args.nodes).map(power).collect()
}

/// The command for each node: one for all that names it, or as many as there are nodes.
fn commands(option: &str, given: &[String], nodes: &[String]) -> Result<Vec<Option<String>>> {
    let of_node = |command: &String, index: usize| Some(for_node(command, index, &nodes[index]));
    let each = 0..nodes.len();
    Ok(match given {
        [] => each.map(|_| None).collect(),
        [one] if one.contains("{node}") || one.contains("{port}") => {
            each.map(|index| of_node(one, index)).collect()
        }
        some if some.len() == nodes.len() => {
            each.map(|index| of_node(&some[index], index)).collect()
        }
        _ => bail!("{option}: write {{node}} or {{port}} in it, or give it once for each node"),
    })
}

fn blank(args: &ClusterArgs) -> Run {
    let host = |url: &String| wire::Location::parse(url).map_or_else(|_| url.clone(), |it| it.host);
    let hosts: Vec<_> = args.nodes.iter().map(host).collect();
    let name = args.name.clone().unwrap_or_else(|| hosts.join("+"));
    Run {
        server: Some(args.nodes.join(" ")),
        ..Run::begun(name, args.judge.strict, args.judge.time_scale)
    }
}

/// The command that checks the nodes again, but for the case. Values of headers may be secrets.
fn again(args: &ClusterArgs) -> String {
    let mut words = String::from("sse-bench conform cluster");
    let given = |option: &str, value: &String| format!(" {option}{}", quoted(value));
    words.extend(args.nodes.iter().map(|url| given("", url)));
    words += &again::of_request(&args.request);
    words += &again::of_publishing(&args.publishing);
    words.extend(args.kill_cmd.iter().map(|it| given("--kill-cmd ", it)));
    words.extend(args.start_cmd.iter().map(|it| given("--start-cmd ", it)));
    words + &format!(" --patience-ms {}", args.patience_ms)
}

/// The report on nodes that could not be checked.
fn not_run(args: &ClusterArgs, words: &str) -> Run {
    let blocked = |case| CaseResult {
        verdict: Verdict::Blocked,
        actual: Some(words.to_owned()),
        ..judge::blank(case, &Deviations::default())
    };
    let results: Vec<_> = cases().take(1).map(blocked).collect();
    Run { summary: Summary::of(&results, args.judge.strict), results, ..blank(args) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_a_node_or_there_is_one_for_each() {
        let nodes = ["http://10.0.0.1:3001/x", "http://10.0.0.2/x"].map(str::to_owned);
        let of = |given: &[&str]| {
            let given: Vec<_> = given.iter().map(ToString::to_string).collect();
            commands("--kill-cmd", &given, &nodes)
        };
        let one = of(&["kill {node} {port}"]).unwrap();
        assert_eq!(one, [Some("kill 1 3001".to_owned()), Some("kill 2 80".to_owned())]);
        assert_eq!(of(&["a", "b"]).unwrap(), [Some("a".to_owned()), Some("b".to_owned())]);
        assert_eq!(of(&[]).unwrap(), [None, None]);
        let error = of(&["kill"]).unwrap_err().to_string();
        assert!(error.contains("{node}") && error.contains("once for each"), "{error}");
    }
}
