//! `sse-bench conform server`.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use super::{Selection, cases, explain};
use crate::Profile;
use crate::command::{Outputs, could_not_run, factor, finish, print};
use crate::report::Paint;

/// Which server to check, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench conform server http://127.0.0.1:3000/events         any server, in any language
  sse-bench conform server URL --only S9,S1.02 --verbose        some cases, each with its line
  sse-bench conform server URL --header 'Authorization: Bearer …' --wait 30s
  sse-bench conform server URL --start-cmd 'node server.js'     also the cases on shutdown
  sse-bench conform server URL --junit conform.xml --baseline known.toml       in CI
  sse-bench conform server axum --encoding native               a server of this workspace
  sse-bench conform server all --html matrix.html               all of them
  sse-bench conform server --explain S4.07                      what a case is about

Verdicts: PASS; NON-STRICT, a recommendation failed; FAIL, a requirement failed; INFO, a fact;
SKIP, the server does not offer what the case needs; BLOCKED, a case that it depends on failed, or the
server stopped answering; ERROR of the harness. KNOWN is a failure that is listed.

Exit codes: 0 all as expected, 1 an unexpected result, 2 could not run, 3 self-check failed.")]
pub struct ServerArgs {
    /// The URL of a stream, the name of a server of this workspace, or `all` of them
    #[arg(value_name = "URL|NAME|all", required_unless_present = "explain")]
    pub server: Option<String>,
    /// Say what a case sends, expects and rests on, and how to fix a server that fails it
    #[arg(long, value_name = "CASE")]
    pub explain: Option<String>,

    /// How much of the server to use: generic is any URL of a stream, contract also the script
    /// endpoint, topics and metrics as far as they are there, full also the process and long cases
    /// [default: full if there is a process to stop, else contract]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "generic|contract|full")]
    pub profile: Option<Profile>,
    /// Only these cases: an id (S9.10), a category (S3 or grammar) or a slug
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not these cases
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// A failed recommendation (SHOULD) is an unexpected result, too
    #[arg(long)]
    pub strict: bool,
    /// Known failures, in the form of deviations.toml: a listed failure is expected, any other is
    /// not, and neither is a listed case that passes
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// A header line for every request; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// How long to wait until the server answers, for instance 30s
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub wait: Option<Duration>,
    /// Multiply every wait and every threshold by this factor, for a slow machine
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    pub time_scale: f64,
    /// How long to wait for each answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub patience_ms: u64,
    /// The time between the server's keep-alive comments, where it can be set to a short one
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub keep_alive_ms: Option<u64>,

    /// Start the server with this shell command, and again after each case that stops it
    #[arg(long, value_name = "COMMAND", conflicts_with = "pid")]
    pub start_cmd: Option<String>,
    /// The server's process, for the cases that stop it; it is not started again
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pub pid: Option<i32>,
    /// Floods and stops may be sent though the host is not this one
    #[arg(long)]
    pub i_own_this_server: bool,
    /// Only this encoding of a server of this workspace; smallest is its examples/smallest.rs, which
    /// is shown and fails no run
    #[arg(long, value_name = "shared|native|smallest")]
    pub encoding: Option<String>,
    /// Check the release build of a server of this workspace
    #[arg(long)]
    pub release: bool,

    /// The server's name in reports
    #[arg(long)]
    pub name: Option<String>,
    /// Show every case, and the dialogues of known failures too
    #[arg(long)]
    pub verbose: bool,
    /// Where else the results go
    #[command(flatten)]
    pub outputs: Outputs,
}

/// Checks one server, or all of the workspace, and prints a report.
///
/// # Errors
/// Only for output that cannot be written; what cannot be checked is exit code 2.
pub fn run_server(args: &ServerArgs) -> Result<ExitCode> {
    if let Some(word) = &args.explain {
        let mut found = cases().filter(|case| case.matches(word)).peekable();
        if found.peek().is_none() {
            return could_not_run(&format!("no case {word:?}; see sse-bench list cases"));
        }
        print(&found.map(explain::explain).collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let server = args.server.as_deref().expect("clap demands it where there is no --explain");
    let selection = match Selection::new(&args.only, &args.skip) {
        Ok(selection) => selection,
        Err(words) => return could_not_run(&words),
    };
    let paint = Paint::for_stdout();
    let runs = if server.contains("://") {
        check::url(args, server, &selection, paint)
    } else {
        check::packages(args, server, &selection, paint)
    };
    let runs = match runs {
        Ok(runs) => runs,
        Err(error) => return could_not_run(&format!("{error:#}")),
    };
    finish(runs, &args.outputs, paint)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let is_token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is no header name"));
    }
    if value.bytes().any(|it| it.is_ascii_control() && it != b'\t') {
        return Err("the value has control characters".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| "write it as 30s, 500ms or 2m")?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1e3,
        "s" | "" => number,
        "m" => number * 60.0,
        unit => return Err(format!("{unit:?} is no unit; write 30s, 500ms or 2m")),
    };
    let seconds = Some(seconds).filter(|it| (0.0..=3600.0).contains(it));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "at most an hour".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_options_are_read_and_mistakes_named() {
        assert_eq!(header("X-A:  b: c "), Ok(("X-A".to_owned(), "b: c".to_owned())));
        assert!(
            header("X A: b").is_err() && header("X").is_err() && header("X: a\r\nB: c").is_err()
        );
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert!(time("30x").is_err() && time("-1s").is_err() && time("").is_err());
        assert!(time("NaNs").is_err() && time("2000m").is_err());
    }
}
