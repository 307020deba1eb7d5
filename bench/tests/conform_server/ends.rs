//! How `conform server` ends: what fails the run, what it keeps when it is ended, what it says when it judged
//! nothing.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::report::{Folder, workspace};
use crate::target::{self, Hostile, read_request, serve_events};

fn conform(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "server"]).args(args).current_dir(workspace());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn results(folder: &Folder, name: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(&folder.read(name)).unwrap();
    report["runs"][0]["results"].as_array().unwrap().clone()
}

fn verdict(results: &[Value], id: &str) -> String {
    let result = results.iter().find(|it| it["id"] == id);
    result.map_or("none", |it| it["verdict"].as_str().unwrap()).to_owned()
}

/// Takes requests without Host, and answers HTTP/1.0 in chunks: faults of its HTTP, not of its stream.
fn odd_http() -> Hostile {
    Hostile::start(|mut socket, number| {
        let request = read_request(&mut socket).replace("HTTP/1.0", "HTTP/1.1");
        target::stream(socket, number, &request);
    })
}

#[test]
fn the_scope_says_which_failures_fail_the_run() {
    let server = odd_http();
    let url = server.url();
    let only = "S1.01,S2.07,S9.10";
    let (code, stdout, _) = conform(&[&url, "--only", only]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("FAIL       S2.07"), "all failures are shown: {stdout}");
    assert!(stdout.contains("your stream (SSE) 1 passed, 0 failed\n"), "{stdout}");
    let words = "HTTP below it     0 passed, 2 failed; fails no run without --scope all";
    assert!(stdout.contains(words), "{stdout}");
    assert!(stdout.contains("to fix    ") && stdout.contains("a handler seldom can"), "{stdout}");
    let (code, stdout, _) = conform(&[&url, "--only", "S9.10"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("1 failed; fails no run without --scope all"), "{stdout}");
    assert_eq!(conform(&[&url, "--only", only, "--scope", "http"]).0, Some(1));
    assert_eq!(conform(&[&url, "--only", only, "--scope", "all"]).0, Some(1));
}

#[test]
fn a_case_that_is_named_runs_whatever_the_profile_and_a_run_without_a_judgement_is_no_success() {
    let server = Hostile::start(serve_events);
    let url = server.url();
    // Neither is of this profile.
    let (code, stdout, stderr) = conform(&[&url, "--profile", "generic", "--only", "S4.01,S10.01"]);
    assert_eq!(code, Some(2), "{stdout}{stderr}");
    assert!(stderr.contains("nothing was judged (2 cases)"), "{stderr}");
    assert!(stderr.contains("needs GET /script"), "not the profile is the reason: {stderr}");
    let (_, stdout, _) = conform(&[&url, "--only", "disconnect", "--patience-ms", "400"]);
    assert!(stdout.contains("part of --profile full"), "a category is no name: {stdout}");
}

#[test]
fn an_address_without_a_scheme_is_answered_with_the_right_one() {
    for address in ["localhost:9201/ticks", "127.0.0.1:3000", "example.org/events"] {
        let (code, _, stderr) = conform(&[address]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(&format!("write http://{address}")), "{stderr}");
    }
}

#[test]
fn a_start_command_is_a_shell_command_and_its_last_words_are_shown() {
    let port = fleet::free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/");
    for (command, words) in [
        ("cd / && X=1 no-such-program-here", "no-such-program-here"),
        ("echo the port is taken >&2; exit 3", "exit status: 3: the port is taken"),
    ] {
        let (code, _, stderr) = conform(&[&url, "--start-cmd", command]);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(words) && stderr.trim_end().lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_server_that_cannot_be_checked_is_in_every_report() {
    let folder = Folder::new("unreached");
    let server = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    });
    let [json, junit, md, html] =
        ["a.json", "a.xml", "a.md", "a.html"].map(|name| folder.file(name));
    let outputs = ["--json", &json, "--junit", &junit, "--md", &md, "--html", &html];
    let url = server.url();
    let (code, _, stderr) = conform(&[&[url.as_str()][..], &outputs].concat());
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert_eq!(verdict(&results(&folder, "a.json"), "S1.01"), "blocked");
    for name in ["a.xml", "a.md", "a.html"] {
        assert!(folder.read(name).contains("status 500"), "{name}");
    }
}

#[test]
fn a_run_that_is_ended_keeps_what_it_found() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new("ended");
        // Silent: a case that watches goes on for as long as this test does.
        let (said, requests) = std::sync::mpsc::channel();
        let said = std::sync::Mutex::new(said);
        let silent = Hostile::start(move |mut socket, _| {
            let _ = said.lock().unwrap().send(read_request(&mut socket));
            let _ = socket.write_all(target::head(true).as_bytes());
            let _ = socket.set_read_timeout(None);
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let [json, junit] = ["a.json", "a.xml"].map(|name| folder.file(name));
        let child = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
            .args(["conform", "server", &silent.url(), "--only", "S1,S2.07"])
            .args(["--profile", "generic", "--patience-ms", "120000"])
            .args(["--json", &json, "--junit", &junit])
            .current_dir(workspace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The one case that says HTTP/1.0 comes behind the handshake.
        let patience = Duration::from_secs(60);
        while !requests.recv_timeout(patience).unwrap().contains(" HTTP/1.0") {}
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains("the run was ended before this case"), "{stdout}");
        let results = results(&folder, "a.json");
        assert_eq!(verdict(&results, "S1.01"), "pass");
        assert_eq!(verdict(&results, "S2.07"), "skip");
        let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
        assert!(report["runs"][0]["took_ms"].as_u64() > Some(0), "the time until then: {stdout}");
        assert!(folder.read("a.xml").contains("S2.07-http10-no-chunked"));
    }
}

#[test]
fn a_baseline_that_is_written_makes_the_same_run_succeed() {
    let folder = Folder::new("baseline");
    let server = odd_http();
    let (url, file) = (server.url(), folder.file("known.toml"));
    let common = [url.as_str(), "--only", "S1.01,S2.07,S9.10", "--scope", "all"];
    let run = |more: &[&str]| conform(&[&common[..], more].concat());
    assert_eq!(run(&["--write-baseline", &file]).0, Some(1), "it hides nothing yet");
    let (code, stdout, stderr) = run(&["--baseline", &file]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("KNOWN      S2.07"), "{stdout}");
    // Words that a person has added stay.
    let text = folder.read("known.toml").replacen("reason = \"", "reason = \"on purpose: ", 1);
    std::fs::write(&file, &text).unwrap();
    assert_eq!(run(&["--baseline", &file, "--write-baseline", &file]).0, Some(0));
    assert_eq!(folder.read("known.toml"), text);
}

#[test]
fn a_run_that_is_ended_before_it_judged_says_so() {
    let folder = Folder::new("ended-early");
    let (said, requests) = std::sync::mpsc::channel();
    let said = std::sync::Mutex::new(said);
    // Not even the first question is answered.
    let deaf = Hostile::start(move |mut socket, _| {
        let _ = said.lock().unwrap().send(read_request(&mut socket));
        let _ = socket.set_read_timeout(None);
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let json = folder.file("a.json");
    let child = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["conform", "server", &deaf.url(), "--patience-ms", "120000", "--json", &json])
        .current_dir(workspace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !requests.recv_timeout(Duration::from_secs(60)).unwrap().starts_with("GET ") {}
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nothing was judged until then"), "{stderr}");
    assert!(!stderr.contains("this is what was found"), "{stderr}");
}
