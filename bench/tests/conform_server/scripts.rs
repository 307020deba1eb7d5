//! The adapters of `bench/servers/script`: through each of them the suite sees its server's own encoder.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use conform::server::{Need, cases};
use fleet::Program;
use serde_json::Value;

use crate::report::workspace;

/// An author reads and copies an adapter; longer ones are not copied.
const ADAPTER_LINES: usize = 30;
/// Below the ports that the system hands out by itself, so that no other test is given one meanwhile.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// The last words of a server that fails to start.
const WORDS_BYTES: usize = 4096;

#[test]
fn the_node_adapter_passes_every_case_of_the_script() {
    passes("node/script.mjs", |port| {
        let mut command = Command::new("node");
        command.args(["node/server.mjs", port]);
        (command, "apt-get install nodejs")
    });
}

#[test]
fn the_go_adapter_passes_every_case_of_the_script() {
    let binary = scripts().join("go/target/server");
    let mut build = Command::new("go");
    build.args(["build", "-o", "target/server", "."]).current_dir(scripts().join("go"));
    let built = build.output().unwrap_or_else(|error| {
        panic!("cannot run go: {error}; on Debian: apt-get install golang-go")
    });
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    passes("go/script.go", |port| {
        let mut command = Command::new(&binary);
        command.arg(port);
        (command, "go build -o target/server .")
    });
}

#[test]
fn the_python_adapter_passes_every_case_of_the_script() {
    let uvicorn = scripts().join("../python-starlette/.venv/bin/uvicorn");
    passes("python/script.py", |port| {
        let mut command = Command::new(&uvicorn);
        command.args(["--app-dir", "python", "server:app", "--log-level", "warning", "--port"]);
        command.arg(port);
        (command, "bench/servers/start.py python-starlette 8000, which makes the environment")
    });
}

/// Starts the server beside this adapter, and asks it all that needs a script and nothing else.
fn passes(adapter: &str, start: impl FnOnce(&str) -> (Command, &'static str)) {
    let text = std::fs::read_to_string(scripts().join(adapter)).unwrap();
    let is_code = |line: &&str| !["", "//", "#"].contains(&line.split(' ').next().unwrap_or(""));
    let lines = text.lines().map(str::trim).filter(is_code).count();
    assert!(lines <= ADAPTER_LINES, "{adapter} has {lines} lines of code");

    let port = port().to_string();
    let (mut command, advice) = start(&port);
    command.current_dir(scripts()).stdin(Stdio::null()).stderr(Stdio::piped());
    let server = Program::start(&mut command).and_then(Program::kill_on_exit);
    let mut server = server.unwrap_or_else(|error| panic!("{command:?}: {error}; run {advice}"));
    let words = server.stderr(WORDS_BYTES);

    let is_script =
        |case: &&conform::server::Case| case.needs == [Need::Script] && case.cost.is_empty();
    let ids: Vec<_> = cases().filter(is_script).map(|case| case.id).collect();
    let url = format!("http://127.0.0.1:{port}/ticks");
    let json = std::env::temp_dir().join(format!("sse-script-{port}.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["conform", "server", &url, "--wait", "20s", "--strict", "--only", &ids.join(",")])
        .arg("--json")
        .arg(&json)
        .current_dir(workspace())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let words = words.map(|it| it.text()).unwrap_or_default();
    assert!(output.status.success(), "{adapter}: {shown}\n{complaint}\n{words}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let _ = std::fs::remove_file(&json);
    let results = report["runs"][0]["results"].as_array().unwrap();
    let judged = results.iter().filter(|it| it["verdict"] == "pass" || it["verdict"] == "info");
    assert_eq!(judged.count(), ids.len(), "{adapter}: {shown}");
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/script")
}

/// A port on which nothing listens.
fn port() -> u16 {
    let mut tries = std::iter::repeat_with(|| fastrand::u16(PORTS));
    tries.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}
