//! `action.yml`: its scripts, run by the shell and with the environment that GitHub's runner gives them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wire::server::{Answer, serve};

use crate::chat::{BODY, Chat, TOKEN};
use crate::servers::workspace;

/// An input of the action, by the name of the variable that it becomes.
type Input<'a> = (&'a str, &'a str);

#[test]
fn a_server_is_judged_and_the_summary_of_the_job_says_so() {
    let chat = Chat::start();
    let url = chat.url();
    let arguments = format!("--only S1,S9.23\n --name 'my chat' -d '{BODY}' -H '{TOKEN}'");
    let judged = judge("judged", &[("SSE_URL", &url), ("SSE_ARGUMENTS", &arguments)]);
    judged.ended(0);
    assert!(judged.summary.starts_with("# SSE conformance\n"), "{}", judged.summary);
    assert!(judged.summary.contains("my chat"), "quotes are a shell's: {}", judged.summary);
    assert!(!judged.summary.contains("s3cret"), "{}", judged.summary);
}

#[test]
fn a_failure_fails_the_job_unless_the_baseline_lists_it() {
    let url = format!("http://{}/", without_date());
    let baseline = std::env::temp_dir().join(format!("sse-action-{}.toml", std::process::id()));
    let baseline = baseline.to_str().unwrap();
    let arguments = format!("--only S1.01,S1.10 --scope all --write-baseline {baseline}");
    let failed = judge("failed", &[("SSE_URL", &url), ("SSE_ARGUMENTS", &arguments)]);
    failed.ended(1);
    assert!(failed.summary.contains("S1.10"), "{}", failed.summary);

    let arguments = "--only S1.01,S1.10 --scope all";
    let known: &[Input<'_>] =
        &[("SSE_URL", &url), ("SSE_ARGUMENTS", arguments), ("SSE_BASELINE", baseline)];
    judge("known", known).ended(0);
    fs::remove_file(baseline).unwrap();
}

#[test]
fn a_command_starts_the_server_or_is_the_client() {
    let port = fleet::free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/ticks?interval_ms=20");
    let command = format!("exec sse-bench floor --port {port}");
    let started: &[Input<'_>] =
        &[("SSE_URL", &url), ("SSE_COMMAND", &command), ("SSE_ARGUMENTS", "--only S1.01")];
    judge("started", started).ended(0);

    let adapter = workspace().join("bench/clients/node-sse/adapter.mjs");
    let command = format!("node {}", adapter.display());
    let client =
        judge("client", &[("SSE_COMMAND", &command), ("SSE_ARGUMENTS", "--only C1.01,C1.02")]);
    client.ended(0);
    assert!(client.summary.contains("C1.02"), "{}", client.summary);
}

#[test]
fn without_a_subject_the_job_fails_with_one_line_for_the_log() {
    let nothing = judge("nothing", &[]);
    nothing.ended(2);
    let said = String::from_utf8_lossy(&nothing.output.stdout);
    assert!(said.starts_with("::error::give the url") && said.lines().count() == 1, "{said}");
    // A target that does not answer is a result as well.
    let gone = judge("gone", &[("SSE_URL", "http://127.0.0.1:9/")]);
    gone.ended(2);
    assert!(gone.summary.contains("127.0.0.1:9"), "{}", gone.summary);
}

#[test]
fn an_installed_command_is_not_built_again_and_each_input_reaches_the_script() {
    let installed = run(&script("Install sse-bench"), &[], &std::env::temp_dir());
    let found = String::from_utf8_lossy(&installed.stdout);
    assert_eq!(found.trim(), env!("CARGO_BIN_EXE_sse-bench"), "{installed:?}");

    let action = action();
    let (_, inputs) = action.split_once("\ninputs:\n").unwrap();
    let (inputs, steps) = inputs.split_once("\nruns:\n").unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names: Vec<_> = inputs.lines().filter(is_name).collect();
    assert_eq!(names, ["  url:", "  command:", "  baseline:", "  arguments:"]);
    for name in names {
        let name = name.trim().trim_end_matches(':');
        let upper = name.to_uppercase();
        let line = format!("        SSE_{upper}: ${{{{ inputs.{name} }}}}\n");
        assert!(steps.contains(&line), "{line}");
    }
    // Elsewhere an input would be a part of the script.
    assert_eq!(steps.matches("${{").count(), 4, "{steps}");
}

struct Judged {
    output: Output,
    summary: String,
}

impl Judged {
    #[track_caller]
    fn ended(&self, code: i32) {
        assert_eq!(self.output.status.code(), Some(code), "{:?}\n{}", self.output, self.summary);
    }
}

/// Runs the step that judges, in an empty folder; the name is of this test's alone.
fn judge(name: &str, inputs: &[Input<'_>]) -> Judged {
    let folder = std::env::temp_dir().join(format!("sse-action-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let output = run(&script("Judge"), inputs, &folder);
    let summary = fs::read_to_string(folder.join("summary.md")).unwrap_or_default();
    fs::remove_dir_all(folder).unwrap();
    Judged { output, summary }
}

/// As a runner does with `shell: bash`: the script is a file, each input is set, and the job has a
/// file for its summary.
fn run(script: &str, inputs: &[Input<'_>], folder: &Path) -> Output {
    let file = folder.join(format!("sse-step-{}.sh", std::process::id()));
    fs::write(&file, script).unwrap();
    let commands = Path::new(env!("CARGO_BIN_EXE_sse-bench")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(&file).current_dir(folder);
    for name in ["SSE_URL", "SSE_COMMAND", "SSE_BASELINE", "SSE_ARGUMENTS"] {
        bash.env(name, "");
    }
    bash.envs(inputs.iter().copied());
    bash.env("PATH", format!("{}:{path}", commands.display()));
    bash.env("GITHUB_STEP_SUMMARY", folder.join("summary.md"));
    bash.env("GITHUB_ACTION_PATH", "/nonexistent");
    let output = bash.output().unwrap();
    fs::remove_file(file).unwrap();
    output
}

/// The lines behind `run: |` of the step with this name.
fn script(step: &str) -> String {
    let action = action();
    let (_, step) = action.split_once(&format!("- name: {step}\n")).expect("a step of this name");
    let (_, lines) = step.split_once("      run: |\n").expect("a script");
    let lines = lines.lines().map_while(|line| match line.strip_prefix("        ") {
        None if line.is_empty() => Some(line),
        line => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn action() -> String {
    fs::read_to_string(PathBuf::from(workspace()).join("action.yml")).unwrap()
}

/// A server whose HTTP library leaves out `Date`.
fn without_date() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, 1000, |_| Answer {
        status: "200 OK",
        lines: "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n".to_owned(),
        body: "data: a\n\n".to_owned(),
    });
    address
}
