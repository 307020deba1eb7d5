//! The command lines: of `sse-bench`, and of each server.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn sse_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sse-bench")).args(arguments).output().unwrap()
}

/// The output of a command that succeeds.
#[track_caller]
pub fn printed(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), error.as_ref()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands that a help text lists.
pub fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A line that is further in continues a description.
    let lines = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

/// Each path of subcommands, such as `list cases`, down to those that have none.
fn paths(path: &[&str], found: &mut Vec<String>) {
    let help = printed(sse_bench(&[path, &["--help"]].concat()));
    for name in subcommands(&help) {
        paths(&[path, &[name]].concat(), found);
    }
    if !path.is_empty() {
        found.push(path.join(" "));
    }
}

#[test]
fn every_subcommand_has_help_with_examples_a_version_a_manual_page_and_completions() {
    let mut found = Vec::new();
    paths(&[], &mut found);
    assert!(found.len() >= 10, "{found:?}");
    let bash = printed(sse_bench(&["completions", "bash"]));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sse-bench-man");
    std::fs::create_dir_all(&directory).unwrap();
    printed(sse_bench(&["man", "--directory", directory.to_str().unwrap()]));
    for path in &found {
        let words: Vec<_> = path.split(' ').collect();
        let help = printed(sse_bench(&[&words[..], &["--help"]].concat()));
        let has_own = !subcommands(&help).is_empty();
        assert!(has_own || help.contains("Examples:"), "{path}: no examples\n{help}");
        assert!(!help.contains('\x1b'), "{path}: colours in a pipe");
        // clap makes a line end of a placeholder that is named n.
        let is_cut = help.lines().any(|line| line.trim_start().starts_with([',', ';', '}']));
        assert!(!is_cut && !help.contains("{n}"), "{path}: {help}");
        printed(sse_bench(&[&words[..], &["--version"]].concat()));
        let page = directory.join(format!("sse-bench-{}.1", path.replace(' ', "-")));
        assert!(page.exists(), "{}", page.display());
        let (parent, name) = path.rsplit_once(' ').unwrap_or(("", path));
        let parents: String = parent.split(' ').map(|it| format!("__subcmd__{it}")).collect();
        let parents = if parent.is_empty() { "" } else { &parents };
        assert!(bash.contains(&format!("sse__bench{parents},{name})")), "{path}");
    }
    for shell in ["zsh", "fish"] {
        assert!(printed(sse_bench(&["completions", shell])).contains("conform"));
    }
    assert!(printed(sse_bench(&["man"])).starts_with(".ie"));
    let version = concat!("sse-bench ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(printed(sse_bench(&["--version"])), version);
}

#[test]
fn lists_are_for_people_and_as_json_for_programs() {
    for what in ["cases", "servers", "workloads"] {
        let text = printed(sse_bench(&["list", what]));
        assert!(text.lines().count() > 1 && !text.contains('\x1b'), "{text}");
        let json: Value =
            serde_json::from_str(&printed(sse_bench(&["list", what, "--json"]))).unwrap();
        let items = if what == "cases" { &json["cases"] } else { &json };
        assert_eq!(items.as_array().unwrap().len(), text.lines().count(), "{what}");
    }
}

#[test]
fn mistakes_get_code_2_and_a_way_out() {
    for (arguments, advice) in [
        (&["conform", "server", "--explain", "S99.99"][..], "sse-bench list cases"),
        (&["conform", "server", "no-such-server"], "one of"),
        (&["conform", "serve"], "'server'"),
        (&["conform", "cluster", "http://127.0.0.1:1/x"], "the URL of each"),
        (&["conform", "cluster", "--explain", "S1.01"], "no case about nodes"),
        (&["attack", "no-such-server"], "choose one of"),
        (&["attack", "--only", "nope"], "sigterm"),
        (&["attack", "--size", "huge"], "short, medium, long"),
        (&["chaos", "--brokers", "2"], "1, 3"),
        (&["chaos", "--nodes", "axum,nope"], "choose one of"),
        (&["chaos", "--duration-s", "86400", "--rate", "5000"], "--rate lower"),
        (&["chaos", "--replay", "/nonexistent"], "cannot read /nonexistent"),
        (&["chaos", "--nats-server", "/nonexistent"], "cannot run /nonexistent"),
        (&["bus", "no-such-server"], "choose one of"),
        (&["bus", "--from", "/nonexistent"], "cannot read /nonexistent"),
        (&["bus", "--splice", "/nonexistent"], "cannot read /nonexistent"),
        (&["soak", "no-such-server"], "choose one of"),
        (&["soak", "node-http"], "servers of this repository"),
        (&["soak", "--duration-s", "5"], "10..=86400"),
        (&["completions", "tcsh"], "bash"),
        (&["man", "--directory", "/nonexistent"], "does it exist?"),
        (&["report", "/nonexistent"], "/nonexistent"),
    ] {
        let output = sse_bench(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(advice), "{arguments:?}: {error}");
    }
}

#[test]
fn servers_say_the_same_in_their_help_but_for_their_names_and_ports() {
    let mut first = None;
    for package in crate::servers::packages() {
        let binary = crate::servers::binary(package).unwrap();
        let run = |argument: &str| {
            let mut server = Command::new(&binary);
            // A value of the environment would show in the help.
            let names = std::env::vars_os().map(|(name, _)| name);
            for name in names.filter(|it| it.to_string_lossy().starts_with("SSE_")) {
                server.env_remove(name);
            }
            printed(server.arg(argument).output().unwrap())
        };
        let version = format!("{} {}\n", package.name, env!("CARGO_PKG_VERSION"));
        assert_eq!(run("--version"), version);
        let help = run("--help");
        let folder = package.folder.file_name().unwrap().to_str().unwrap();
        let number: u16 = folder.split('_').next().unwrap().parse().unwrap();
        let port = (8000 + number).to_string();
        for what in ["Examples:", &format!("[default: {port}]"), "[env: SSE_PUBLISH_TOKEN]"] {
            assert!(help.contains(what), "{what}\n{help}");
        }
        assert!(help.contains(&format!("http://127.0.0.1:{port}/ticks")), "{help}");
        assert!(!help.contains(":PORT") && !help.contains("NAME"), "{help}");
        // Without the first line, which is the package's description, and the columns of its name.
        let (_, options) = help.split_once("Usage:").unwrap();
        let common = options.replace(&package.name, "NAME").replace(&port, "PORT");
        let common = common.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(&common, first.get_or_insert_with(|| common.clone()), "{}", package.name);
    }
}
