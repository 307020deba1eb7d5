//! `sse-bench conform server`.

mod check;
mod peers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use client::arguments::{RequestArgs, time};
use fleet::Servers;
use wire::publish::PublishArgs;

use super::{RULES, Selection, cases, deviations, explain};
use crate::case::check_words;
use crate::command::{
    EXIT_COULD_NOT_RUN, EXIT_HARNESS, JudgeArgs, Kept, Outputs, could_not_run, finish, print,
};
use crate::report::{Document, Paint, Run, write};
use crate::{Deviation, Deviations, Profile, Scope};

/// Which server to check, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench conform server http://HOST/events           a server in any language
  sse-bench conform server URL --only S9,S1.02          some cases
  sse-bench conform server URL --only S9 --verbose      a line for each of them
  sse-bench conform server URL -H @token.txt --wait 30s
  sse-bench conform server URL --start-cmd 'npm start'  also cases on shutdown
  sse-bench conform server URL --http2 --only S12       HTTP/2 without TLS
  sse-bench conform server https://HOST/v1/chat/completions \\
    -H @token.txt -d @prompt.json                       the answer to a prompt
  sse-bench conform server http://HOST/room \\
    --publish http://HOST/say --publish-body '{\"text\":{json}}'
  sse-bench conform server URL --scope all \\
    --write-baseline known.toml                         failures of today
  sse-bench conform server URL --baseline known.toml \\
    --junit conform.xml                                 in CI
  sse-bench conform server axum --encoding native       a server of ours
  sse-bench conform server ours --html matrix.html      all of ours
  sse-bench conform server node-express python-flask    of other ecosystems
  sse-bench conform server peers --json verdicts/       all of those
  sse-bench conform server ./my-server                  it has a server.toml
  sse-bench conform server --explain S4.07              a case, in words

The options --publish and --publish-cmd open the cases on flush, fidelity, injection and \
broadcast.

The command sse-bench servers list prints the names. The word `all` is `ours` and `peers`.

Verdicts:
  PASS        the server keeps the rule
  FAIL        a requirement failed
  NON-STRICT  a recommendation failed
  INFO        a fact
  SKIP        the server does not offer what the case needs
  BLOCKED     not judged: another case failed, or the server stopped answering
  ERROR       the harness failed
  KNOWN       a failure that is listed as known

Failures are of the stream (sse) or of the HTTP below it (http): there in the handler or in the \
library, as each says. All are shown, and --scope says which of them fail the run.

Exit codes:
  0  all as expected
  1  an unexpected result, or ended by Ctrl-C
  2  could not run, or judged nothing
  3  self-check failed, or a case could not be judged")]
pub struct ServerArgs {
    /// The URL of a stream; or servers that are started for it: `ours`, `peers`, `all`, names, or folders with a
    /// server.toml
    #[arg(value_name = "URL|NAME", required_unless_present = "explain")]
    pub servers: Vec<String>,
    /// Say what a case sends, expects and rests on, and how to fix a server that fails it
    #[arg(long, value_name = "CASE")]
    pub explain: Option<String>,

    /// How much of the server to use: generic is any URL of a stream, contract also the script
    /// endpoint, topics and metrics as far as they are there, full also the process and long cases
    /// [default: full if there is a process to stop, else contract]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "generic|contract|full")]
    pub profile: Option<Profile>,
    /// Only these cases: a category (S3 or grammar), or an id (S9.10) or a slug, whatever the profile
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How results are judged
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Which failures fail the run: those of the stream, of the HTTP below it, or all
    /// [default: all for a server of this workspace, sse for any other]
    #[arg(
        long,
        help_heading = "Judging",
        value_enum,
        hide_possible_values = true,
        value_name = "sse|http|all"
    )]
    pub scope: Option<FailScope>,
    /// Write the failures of this run as known ones, for --baseline; entries that still fail keep their words
    #[arg(long, help_heading = "Judging", value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,

    /// How long to wait until the server answers, for instance 30s
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub wait: Option<Duration>,
    /// How long to wait for each answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub patience_ms: u64,
    /// The time between the server's keep-alive comments, where it can be set to a short one
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub keep_alive_ms: Option<u64>,
    /// Send no more requests than this [default: 300 to another host, 40 with a method other than GET]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: Option<u64>,
    /// The server speaks HTTP/2 without TLS, too, to a client that begins with it (prior knowledge): opens
    /// category S12. With https the suite finds out
    #[arg(long)]
    pub http2: bool,

    /// Start the server with this shell command, and again after each case that stops it
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid")]
    pub start_cmd: Option<String>,
    /// The server's process, for the cases that stop it; it is not started again
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pub pid: Option<i32>,
    /// Hostile bytes, floods and stops may be sent though the host is not this one, and any number of requests
    #[arg(long)]
    pub i_own_this_server: bool,
    /// Only this encoding of a server of this workspace; smallest is its examples/smallest.rs, which
    /// is shown and fails no run
    #[arg(long, value_name = "shared|native|smallest")]
    pub encoding: Option<String>,
    /// Check the release build of a server of this workspace
    #[arg(long)]
    pub release: bool,

    /// How to publish where this stream shows it: opens the cases on flush, fidelity, injection and
    /// broadcast
    #[command(flatten)]
    pub publishing: PublishArgs,
    /// The request that opens the stream
    #[command(flatten)]
    pub request: RequestArgs,
    /// Where else the results go
    #[command(flatten)]
    pub outputs: Outputs,
    /// Keep the bytes of cases that pass in the JSON, too: the site shows them beside those of a failure
    #[arg(long, help_heading = "Output")]
    pub keep_bytes: bool,
    /// The server's name in reports
    #[arg(long, help_heading = "Output")]
    pub name: Option<String>,
}

/// The failures that fail a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailScope {
    /// Of the event stream
    Sse,
    /// Of the HTTP below it
    Http,
    /// All
    All,
}

impl FailScope {
    fn has(self, scope: Scope) -> bool {
        matches!(
            (self, scope),
            (FailScope::All, _) | (FailScope::Sse, Scope::Sse) | (FailScope::Http, Scope::Http)
        )
    }
}

/// Checks one server, or all of the workspace, and prints a report.
///
/// # Errors
/// Only for output that cannot be written; what cannot be checked is exit code 2.
pub fn run_server(args: &ServerArgs) -> Result<ExitCode> {
    if let Some(word) = &args.explain {
        if let Err(words) = check_words([word], "servers", cases, RULES) {
            return could_not_run(&words);
        }
        let found = cases().filter(|case| case.matches(word));
        let paint = Paint::for_stdout();
        print(&found.map(|it| explain::explain(it, paint)).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let selection = match Selection::new(&args.only, &args.judge.skip) {
        Ok(selection) => selection,
        Err(words) => return could_not_run(&words),
    };
    let paint = Paint::for_stdout();
    let kept = match Kept::on_signals(&args.outputs, args.judge.verbose, paint) {
        Ok(kept) => kept,
        Err(error) => return could_not_run(&format!("{error:#}")),
    };
    let judging = Judging { args, selection: &selection, paint, kept: &kept };
    let judged = match args.servers.as_slice() {
        [url] if url.contains("://") => judging.url(url),
        names => judging.named(names),
    };
    let Judged { runs, not_started } = match judged {
        Ok(judged) => judged,
        Err(error) => {
            // That it could not run is a result, too, for a report that is read later.
            if let Some(check::NoStream(words)) = error.downcast_ref()
                && args.outputs.is_any()
            {
                let url = args.servers.first().map_or("", String::as_str);
                let run = check::not_run(check::blank_of_url(args, url), words);
                args.outputs.write(&Document::new(vec![run]))?;
            }
            return could_not_run(&format!("{error:#}"));
        }
    };
    if let Some(path) = &args.write_baseline {
        write(path, &baseline_of(&runs)?)?;
    }
    let code = finish(runs, &args.outputs, paint)?;
    // Nothing was judged, and that was said, where these are all.
    let is_said = code == ExitCode::from(EXIT_COULD_NOT_RUN);
    if not_started.is_empty() || is_said || code == ExitCode::from(EXIT_HARNESS) {
        return Ok(code);
    }
    could_not_run(&format!("not judged: {}", not_started.join(", ")))
}

/// The part that all servers of a command have in common.
struct Judging<'j> {
    args: &'j ServerArgs,
    selection: &'j Selection,
    paint: Paint,
    kept: &'j Kept,
}

/// The runs of a command.
struct Judged {
    runs: Vec<Run>,
    /// Servers of others that could not be started; each has a run that says why.
    not_started: Vec<String>,
}

impl Judging<'_> {
    fn url(&self, url: &str) -> Result<Judged> {
        let run = check::url(self.args, url, self.selection, self.paint, self.kept, None)?;
        Ok(Judged { runs: vec![run], not_started: Vec::new() })
    }

    /// Those that are started for it.
    fn named(&self, names: &[String]) -> Result<Judged> {
        let Judging { args, selection, paint, kept } = *self;
        for name in names {
            if name.contains("://") {
                bail!("{name} is a URL: it stands alone");
            }
            if name.starts_with(['.', '/']) && !Path::new(name).is_dir() {
                bail!("there is no folder {name} with a server.toml");
            }
            if name.contains(':') || (name.contains('/') && !Path::new(name).is_dir()) {
                bail!("write http://{name}: a URL begins with its scheme");
            }
        }
        for (flag, is_given) in [
            ("--start-cmd", args.start_cmd.is_some()),
            ("--pid", args.pid.is_some()),
            ("--publish", args.publishing.publish.is_some()),
            ("--publish-cmd", args.publishing.publish_cmd.is_some()),
        ] {
            if is_given {
                let names = names.join(" ");
                bail!("{flag} needs the URL of a server; {names:?} is started by the suite itself");
            }
        }
        let mut servers =
            Servers::named(names).context("neither a URL (http://…) nor a known name")?;
        if let Some(encoding) = &args.encoding {
            servers.peers.clear();
            if servers.is_empty() {
                bail!("--encoding {encoding} is for servers of this workspace");
            }
        }
        let mut runs = Vec::new();
        if !servers.ours.is_empty() {
            let is_one = names.len() == 1 && servers.ours.len() == 1;
            runs = check::packages(args, &servers.ours, is_one, selection, paint, kept)?;
        }
        let (theirs, not_started) = peers::judge(args, &servers.peers, selection, paint, kept);
        runs.extend(theirs);
        Ok(Judged { runs, not_started })
    }
}

/// The failures of these runs in the form of deviations.toml.
fn baseline_of(runs: &[Run]) -> Result<String> {
    let entries = runs.iter().flat_map(|run| {
        let version = || match &run.framework {
            Some(framework) => framework.clone(),
            None => {
                format!("{}, suite {}", run.began.get(..10).unwrap_or_default(), run.suite_version)
            }
        };
        let failed = run.results.iter().filter(|it| it.is_miss());
        failed.map(move |result| {
            let known = result.deviation.as_ref().map(|it| it.version.clone());
            Deviation::seen(result, run.encoding.clone(), known.unwrap_or_else(version))
        })
    });
    let entries: Vec<Deviation> = entries.collect();
    let words = "two servers have failures of their own; give each a file";
    let deviations = Deviations::of(entries, deviations::is_case);
    Ok(deviations.map_err(anyhow::Error::msg).context(words)?.to_toml())
}
