//! The three commands, each with a deadline or an end of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::bounded::{self, Said};
use crate::servers::workspace;

/// A command that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(240);
/// Below the ports that the system hands out by itself, so that no other test is given one meanwhile.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// `sse-bench conform server URL`.
pub fn judge(url: &str, options: &[&str]) -> Said {
    bounded::conform(&[&["server", url], options].concat(), DEADLINE)
}

/// `sse-bench load URL`: its exit code, its report, and what it says besides.
pub fn load(url: &str, options: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    let output = said(command.args(["load", "--unchecked", url, "--json", "-"]).args(options));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (code(&output), report, text(&output.stderr))
}

/// `sse tail URL`: its exit code, the events and what it says besides.
pub fn follow(url: &str, options: &[&str]) -> (i32, Vec<Value>, String) {
    let output = said(Command::new(sse()).args(["tail", url, "--json"]).args(options));
    let events = text(&output.stdout);
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (code(&output), events, text(&output.stderr))
}

/// The data of the events.
pub fn data(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|it| it["data"].as_str()).collect()
}

pub fn said(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port on which nothing listens.
pub fn port() -> u16 {
    let mut tries = std::iter::repeat_with(|| fastrand::u16(PORTS));
    tries.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// The command `sse`, beside ours; `./test.sh` has built it already.
fn sse() -> &'static Path {
    static SSE: OnceLock<PathBuf> = OnceLock::new();
    SSE.get_or_init(|| {
        let mut build = fleet::cargo();
        build.args(["build", "--quiet", "--locked", "-p", "sse-client", "--bin", "sse"]);
        let output = said(build.current_dir(workspace()));
        assert!(output.status.success(), "{}", text(&output.stderr));
        Path::new(env!("CARGO_BIN_EXE_sse-bench")).with_file_name("sse")
    })
}
