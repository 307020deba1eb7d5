//! The command's reports, made from real runs: the JSON keeps to its schema, JUnit parses, files
//! merge into one matrix, and `--explain` explains.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use conform::report::JSON_SCHEMA;

use crate::target::{Hostile, serve_events};
use serde_json::{Value, json};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sse-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(args).current_dir(workspace()).output().unwrap()
}

/// Commands run where users run them: the request bytes of failures go to its `target` folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = command(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {:?} {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bytes_of_cases_that_pass_are_kept_where_they_are_asked_for() {
    let folder = Folder::new("keep-bytes");
    let server = Hostile::start(serve_events);
    let json = folder.file("a.json");
    ok(&[
        "conform",
        "server",
        &server.url(),
        "--only",
        "S1.01,S1.02",
        "--keep-bytes",
        "--json",
        &json,
    ]);
    let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    for result in report["runs"][0]["results"].as_array().unwrap() {
        assert_eq!(result["verdict"], "pass", "{result}");
        assert!(result["dialogue"].as_str().unwrap().contains("text/event-stream"), "{result}");
    }
}

#[test]
fn a_real_report_keeps_to_the_schema_and_every_rendering_is_there() {
    let folder = Folder::new("report");
    let server = Hostile::start(serve_events);
    let [json, junit, md, html] =
        ["a.json", "a.xml", "a.md", "a.html"].map(|name| folder.file(name));
    let output = command(&[
        "conform",
        "server",
        &server.url(),
        "--name",
        "tiny <server>",
        "--patience-ms",
        "400",
        "--only",
        "S1,S2,S3,S4,S9",
        "--scope",
        "all",
        "--json",
        &json,
        "--junit",
        &junit,
        "--md",
        &md,
        "--html",
        &html,
    ]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("again     ") && stdout.contains("expected  "), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "colours go to terminals only");

    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    assert_eq!(crate::schema::faults(&schema, &report), [""; 0]);
    let results = report["runs"][0]["results"].as_array().unwrap();
    let count = |verdict| results.iter().filter(|it| it["verdict"] == verdict).count();
    // It takes requests without Host, so something is found. Where the host was too busy for a verdict, the
    // exit code says that.
    let errors = count("error");
    let code = if errors == 0 { 1 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(count("fail") > 0);
    for result in results {
        let is_miss = result["verdict"] == "fail" || result["verdict"] == "non-strict";
        for key in ["expected", "actual", "dialogue"] {
            assert!(!is_miss || result.get(key).is_some(), "{result}");
        }
        assert!(result.get("dialogue").is_none() || is_miss, "{result}");
    }
    let again = |id: &str| {
        let result = results.iter().find(|it| it["id"] == id);
        result.and_then(|it| it["reproduce"].as_str()).unwrap()
    };
    let file = "target/sse-conform/tiny--server/S9.10.txt";
    assert!(again("S9.10").starts_with(&format!("(cat {file}; ")), "{}", again("S9.10"));
    let bytes = std::fs::read_to_string(workspace().join(file)).unwrap();
    assert!(bytes.starts_with("GET /events HTTP/1.1\r\n") && !bytes.contains("Host"), "{bytes}");

    let suites = quick_junit::Report::deserialize_from_str(&folder.read("a.xml")).unwrap();
    assert_eq!(suites.tests, results.len());
    assert_eq!((suites.failures, suites.errors), (count("fail"), errors + count("blocked")));
    assert!(folder.read("a.md").contains("### 9 http"));
    assert!(folder.read("a.html").contains("tiny &lt;server&gt;"));
}

/// The first word of each row of a table.
fn rows(table: &str) -> Vec<&str> {
    let (_, rows) = table.rsplit_once("─\n").expect("a rule below the heads");
    rows.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn what_is_not_in_the_schema_is_found() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let good = json!({ "schema": "sse-conformance-report/1", "runs": [{
        "name": "a", "server": "b", "suite_version": 1, "profile": "full", "strict": false,
        "time_scale": 1.0, "began": "2026-11-20T12:00:00Z", "took_ms": 1,
        "summary": { "passed": 1, "non_strict": 0, "failed": 0, "deviations": 0, "info": 0,
                     "skipped": 0, "not_judged": 0, "unexpected": 0 },
        "results": [{ "id": "S1.01", "slug": "a", "level": "must", "source": "s", "claim": "c.",
                      "verdict": "pass", "took_ms": 0.5 }],
    }]});
    assert_eq!(crate::schema::faults(&schema, &good), [""; 0]);
    let changes: [(&str, Value); 7] = [
        ("/schema", json!("sse-conformance-report/2")),
        ("/runs", json!({})),
        ("/runs/0/profile", json!("some")),
        ("/runs/0/summary/passed", json!(-1)),
        ("/runs/0/results/0/verdict", json!("passed")),
        ("/runs/0/results/0/id", json!("X1")),
        ("/runs/0/took_ms", json!(1.5)),
    ];
    for (pointer, value) in changes {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert_eq!(crate::schema::faults(&schema, &bad).len(), 1, "{pointer}");
    }
    let mut bad = good.clone();
    bad["runs"][0]["more"] = json!(1);
    bad["runs"][0].as_object_mut().unwrap().remove("began");
    assert_eq!(crate::schema::faults(&schema, &bad).len(), 2);
}

#[test]
fn files_of_several_runs_become_one_matrix_and_a_summary_in_a_document() {
    let folder = Folder::new("merge");
    let server = Hostile::start(serve_events);
    for name in ["one", "two"] {
        let json = folder.file(&format!("{name}.json"));
        let args = ["--name", name, "--only", "S1.01,S1.02", "--json", &json];
        ok(&[&["conform", "server", &server.url()][..], &args].concat());
    }
    let [one, two, html, md, all, document] =
        ["one.json", "two.json", "m.html", "m.md", "all.json", "DOC.md"].map(|it| folder.file(it));
    std::fs::write(
        &document,
        "# T\n\n<!-- sse-bench conform report -->\n<!-- /sse-bench conform report -->\n\nend\n",
    )
    .unwrap();
    let outputs = ["--html", &html, "--md", &md, "--json", &all, "--splice", &document];
    let table = ok(&[&["conform", "report", &one, &two][..], &outputs].concat());
    assert_eq!(rows(&table), ["one", "two"], "{table}");
    assert!(folder.read("m.html").contains("<span>two</span>"));
    assert!(folder.read("m.md").contains("| case | level | one | two |"));
    let spliced = folder.read("DOC.md");
    assert!(spliced.contains("| one | – | 2 | 0 | 0 | 0 | 0 | 0 |"), "{spliced}");
    assert!(spliced.ends_with("<!-- /sse-bench conform report -->\n\nend\n"), "{spliced}");
    assert!(spliced.contains("<!-- sse-bench conform report --splice "), "{spliced}");
    let again = ok(&["conform", "report", &all]);
    assert_eq!(again, table);
    let output = command(&["conform", "report", &document]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
}

#[test]
fn a_client_is_told_of_like_a_server_and_beside_one() {
    let folder = Folder::new("sides");
    let [client, server, html, md, junit] =
        ["c.json", "s.json", "m.html", "m.md", "c.xml"].map(|it| folder.file(it));
    // No client at all: nothing is judged.
    let args = ["--cmd", "true", "--caps", "none", "--name", "none", "--patience-ms", "200"];
    let outputs = ["--json", &client, "--junit", &junit];
    let output = command(&[&["conform", "client"][..], &args, &outputs].concat());
    assert_eq!(output.status.code(), Some(2));
    let schema: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let report: Value = serde_json::from_str(&folder.read("c.json")).unwrap();
    assert_eq!(crate::schema::faults(&schema, &report), [""; 0]);
    assert_eq!(report["runs"][0]["client"], "true");
    let results = report["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 150);
    assert!(results[0]["dialogue"].is_string() && results[0]["reproduce"].is_string());
    let suites = quick_junit::Report::deserialize_from_str(&folder.read("c.xml")).unwrap();
    assert_eq!((suites.tests, suites.failures), (150, 0));

    let target = Hostile::start(serve_events);
    ok(&["conform", "server", &target.url(), "--only", "S1.01", "--json", &server]);
    let table = ok(&["conform", "report", &client, &server, "--html", &html, "--md", &md]);
    assert_eq!(rows(&table).len(), 2, "{table}");
    let text = folder.read("m.md");
    let [servers, clients] = ["### 1 handshake", "### 1 request"].map(|it| text.find(it).unwrap());
    assert!(servers < clients, "{text}");
    assert!(folder.read("m.html").contains("servers and clients"));
    let text = ok(&["conform", "client", "--explain", "C6.20"]);
    for words in ["C6.20-last-id-utf8", "MUST", "to fix", "sent", "reconnects"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let list = ok(&["list", "cases"]);
    assert!(list.contains("S1.01-status-200") && list.contains("C9.05-event-shape"), "{list}");
}

#[test]
fn clients_are_folders_with_their_known_misses() {
    let folder = Folder::new("clients");
    let at = |name: &str| folder.0.join("bench/clients").join(name);
    for name in ["quiet", "shared"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    // The shared code of adapters is no client.
    std::fs::write(at("shared").join("adapter.mjs"), "").unwrap();
    let manifest = |more: &str| {
        let text = format!(
            "name = \"Quiet\"\nversion = \"1.2\"\nbuild = [\"touch\", \"built\"]\n\
             command = [\"bash\", \"./quiet.sh\"]\ncapabilities = [\"R\", \"Cm\"]\npatience_ms = 100\n{more}"
        );
        std::fs::write(at("quiet").join("client.toml"), text).unwrap();
    };
    let asks_with_post = "test -f built || exit 7\nhttp=${1#http://}\nhost=${http%%/*}\n\
        exec 3<>/dev/tcp/${host%:*}/${host#*:}\n\
        printf 'POST /%s HTTP/1.1\\r\\nHost: %s\\r\\nContent-Length: 0\\r\\n\\r\\n' ${http#*/} $host >&3\n\
        cat <&3 >/dev/null\n";
    std::fs::write(at("quiet").join("quiet.sh"), asks_with_post).unwrap();
    let run = |args: &[&str]| {
        let args = [&["conform", "client"][..], args].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
        command.args(args).current_dir(&folder.0).output().unwrap()
    };
    let known =
        "[[deviation]]\ncase = \"C1.01\"\nreason = \"it asks with POST\"\nversion = \"1.2\"\n";
    manifest(known);
    let json = folder.file("a.json");
    let output = run(&["all", "--only", "C1.01,C9.01", "--json", &json]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(stdout.contains("KNOWN") && stdout.contains("it asks with POST"), "{stdout}");
    let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    let run_of = &report["runs"][0];
    assert_eq!((&run_of["name"], &run_of["framework"]), (&json!("Quiet"), &json!("Quiet 1.2")));
    // It ran in its folder, after its build.
    let actual = run_of["results"][0]["actual"].as_str().unwrap();
    assert!(actual.contains("POST"), "{actual}");
    assert_eq!(run_of["results"][1]["verdict"], "skip");
    manifest("");
    assert_eq!(run(&["quiet", "--only", "C1.01"]).status.code(), Some(1));
    for (args, more) in [
        (&["no-such-client"][..], ""),
        (&["all"], "colour = \"red\"\n"),
        (&["all"], "[[deviation]]\ncase = \"C1.99\"\nreason = \"\"\nversion = \"1\"\n"),
        (&["quiet", "--cmd", "true"], ""),
        (&[], ""),
    ] {
        manifest(more);
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?} {more}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?} {more}");
    }
}

#[test]
fn explanations_and_mistakes() {
    let text = ok(&["conform", "server", "--explain", "S4.07"]);
    for words in ["S4.07-leading-space", "MUST*", "to fix", "sent"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let help = ok(&["conform", "server", "--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    for args in [
        &["conform", "server", "--explain", "S99.01"][..],
        &["conform", "server"],
        &["conform", "server", "no-such-server"],
        &["conform", "server", "http://127.0.0.1:1/", "--only", "nothing"],
        &["conform", "server", "http://127.0.0.1:1/", "--header", "no colon"],
        &["conform", "server", "http://127.0.0.1:1/", "--pid", "0"],
        &["conform", "server", "http://127.0.0.1:1/", "--pid", "2", "--start-cmd", "x"],
        &["conform", "server", "http://127.0.0.1:1/", "--start-cmd", "exit 3"],
        &["conform", "server", "http://127.0.0.1:1/", "--baseline", "/no/such/file"],
        &["conform", "server", "http://127.0.0.1:1/", "--time-scale", "0"],
    ] {
        let output = command(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn the_smallest_example_is_shown_and_fails_no_run() {
    let folder = Folder::new("smallest");
    let json = folder.file("a.json");
    // It sends no Date, and its process can be stopped; a script it has not.
    let only = ["--only", "S1.01,S1.10,S4.01,S11.04", "--json", &json];
    ok(&[&["conform", "server", "std-sockets", "--encoding", "smallest"][..], &only].concat());
    let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    let run = &report["runs"][0];
    assert_eq!((&run["name"], &run["encoding"]), (&json!("std-sockets"), &json!("smallest")));
    let results = run["results"].as_array().unwrap();
    let verdicts: Vec<_> = results.iter().map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["pass", "fail", "skip", "pass"]);
    let known = results[1]["deviation"]["reason"].as_str().unwrap();
    assert!(known.starts_with("0 lines; "), "{known}");
    let again = "sse-bench conform server std-sockets --encoding smallest --only S1.10";
    assert_eq!(results[1]["reproduce"], again);
}

#[test]
fn a_server_is_started_stopped_and_started_again_by_its_command() {
    let folder = Folder::new("start");
    // Any of the workspace's own would do; `floor` is in the binary at hand.
    let Some(server) = own_server() else { panic!("cargo build -p sse-std-sockets, then again") };
    let port = fleet::free_port().unwrap();
    let start = format!(
        "{} --port {port} --conformance --keep-alive-ms 500",
        server.to_str().expect("cargo's paths are UTF-8 here")
    );
    let json = folder.file("a.json");
    let url = format!("http://127.0.0.1:{port}/ticks?interval_ms=50");
    ok(&["conform", "server", &url, "--start-cmd", &start, "--only", "S1.01,S11", "--json", &json]);
    let report: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    let ran = results.iter().filter(|it| it["id"].as_str().unwrap().starts_with("S11"));
    for result in ran {
        let verdict = result["verdict"].as_str().unwrap();
        assert!(["pass", "info"].contains(&verdict), "{result}");
    }
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the server is stopped at the end"
    );
}

#[test]
fn what_was_started_ends_with_a_harness_that_is_killed() {
    let server = own_server().expect("it builds");
    let port = fleet::free_port().unwrap();
    let start = format!("{} --port {port} --conformance", server.to_str().unwrap());
    let url = format!("http://127.0.0.1:{port}/ticks");
    // A case that takes a while keeps the harness there.
    for args in [&[&url, "--start-cmd", &start][..], &["std-sockets"]] {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
            .args(["conform", "server", "--only", "S8.09"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It builds the server before it starts it, and may wait for another cargo: it has the time that it takes.
        let pid = loop {
            assert_eq!(
                harness.try_wait().unwrap(),
                None,
                "it ended before it was killed: {args:?}"
            );
            if let Some(pid) = server_of(harness.id()) {
                break pid;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        harness.kill().unwrap();
        harness.wait().unwrap();
        eventually(|| program(pid).is_none().then_some(()));
    }
}

/// Waits until `look` finds something, at most 30 s.
fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let pause = Duration::from_millis(5);
    fleet::eventually(Duration::from_secs(30), pause, || look().ok_or("not within 30 s")).unwrap()
}

/// The program that a process runs, and its parent; `None` if it has ended.
fn program(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (program, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let (state, rest) = rest.split_once(' ')?;
    let parent = rest.split(' ').next()?.parse().ok()?;
    // A zombie has ended; it is not yet reaped.
    (state != "Z").then(|| (program.to_owned(), parent))
}

/// The server that a harness has started, by itself or through a shell.
fn server_of(harness: u32) -> Option<u32> {
    let all = std::fs::read_dir("/proc").expect("Linux");
    let pids = all.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok());
    let programs: Vec<(u32, String, u32)> =
        pids.filter_map(|pid| program(pid).map(|it| (pid, it.0, it.1))).collect();
    let parent_of = |pid| programs.iter().find(|it| it.0 == pid).map(|it| it.2);
    let is_of_it = |parent| parent == harness || parent_of(parent) == Some(harness);
    let server = programs.iter().find(|it| it.1.starts_with("sse-std") && is_of_it(it.2))?;
    // Beside it, and beside the shell that has started it, stands the one that will end it.
    let shells = programs.iter().filter(|it| it.1.starts_with("sh") && it.2 == harness).count();
    (shells > usize::from(server.2 != harness)).then_some(server.0)
}

/// The program of the std server.
pub fn own_server() -> Option<PathBuf> {
    let packages = fleet::discover().ok()?;
    let package = fleet::find(&packages, "std-sockets").ok()?;
    let binary = fleet::build(package, false).ok()?;
    Path::exists(&binary).then_some(binary)
}
