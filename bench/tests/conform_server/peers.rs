//! Servers of others that are named by a folder with a `server.toml`: installed, judged, and reported when they fail to
//! start.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::report::{Folder, workspace};

/// A room, and the ways in which its server may fail.
const PROGRAM: &str = r#"
import http.server, json, queue, sys, time

rooms = []

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        for room in rooms:
            room.put(text)
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        if self.path != "/room":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        room = queue.Queue()
        rooms.append(room)
        while True:
            body = f"data: {json.dumps(room.get())}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))

way, port = sys.argv[1], int(sys.argv[2])
if way == "ends":
    sys.exit("the configuration is wrong")
if way == "silent":
    time.sleep(1000)
if way == "elsewhere":
    port += 1
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

/// A server's folder: its program, which fails in this way, and some lines of its `server.toml` replaced.
fn peer(folder: &Folder, name: &str, way: &str, replaced: &Replaced) -> PathBuf {
    let path = PathBuf::from(folder.file(name));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("server.py"), PROGRAM).unwrap();
    let mut manifest = format!(
        r#"
name = "their stack"
version = "1.2"
language = "Python"
url = "https://example.org/"
needs = {{ python3 = "python3" }}
build = ["sh", "-c", "echo built >built"]
version_command = ["cat", "built"]
command = ["python3", "server.py", "{way}", "{{port}}"]

[room]
path = "/room"
publish = "/room"
body = '{{"text":{{json}}}}'
"#
    );
    for (old, new) in replaced {
        assert!(manifest.contains(old), "{old}");
        manifest = manifest.replace(old, new);
    }
    std::fs::write(path.join("server.toml"), manifest).unwrap();
    path
}

/// Texts of a `server.toml`, and those in their place.
type Replaced = [(&'static str, &'static str)];

/// The exit code, and both outputs.
fn sse_bench(arguments: &[&str], paths: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    let output = command.args(arguments).args(paths).current_dir(workspace()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const SOME: [&str; 4] = ["conform", "server", "--only", "S1.01,S1.02,S4.02"];

#[test]
fn a_folder_with_a_server_toml_is_installed_then_judged_in_its_room() {
    let folder = Folder::new("peer");
    let path = peer(&folder, "their-server", "serves", &[]);
    let (code, _, stderr) = sse_bench(&SOME, &[&path]);
    assert_eq!(code, Some(2), "{stderr}");
    let advice = format!("not installed: sse-bench servers install {}", path.display());
    assert!(stderr.contains(&advice), "{stderr}");

    let (code, stdout, _) = sse_bench(&["servers", "install"], &[&path]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("their-server  their stack built\n1 installed, 0 not"), "{stdout}");

    let json = folder.file("verdicts/");
    let wanted = [&SOME[..], &["--json", &json]].concat();
    let (code, stdout, stderr) = sse_bench(&wanted, &[&path]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("their-server: offers "), "{stdout}");
    let run = &report(&folder, "verdicts/01-their-server.json")["runs"][0];
    for (key, value) in
        [("name", "their-server"), ("server", "their-server"), ("framework", "their stack built")]
    {
        assert_eq!(run[key], value, "{key}");
    }
    assert_eq!(run["profile"], "full", "it may be stopped");
    // A text went in by its [room] and came out.
    let verdicts: Vec<_> =
        results(run).map(|it| (it["id"].as_str(), it["verdict"].as_str())).collect();
    let pass = |id| (Some(id), Some("pass"));
    assert_eq!(verdicts, [pass("S1.01"), pass("S1.02"), pass("S4.02")], "{stdout}");
}

#[test]
fn a_server_that_does_not_start_is_a_run_that_says_why_beside_those_that_do() {
    let folder = Folder::new("peer-faults");
    let python = r#"python3 = "python3""#;
    let faults: [(&str, &str, &Replaced, &str); 5] = [
        ("ends", "ends", &[], "the configuration is wrong"),
        ("silent", "silent", &[], "no answer within 20s"),
        ("elsewhere", "elsewhere", &[], "no answer within 20s"),
        (
            "no-program",
            "serves",
            &[(r#"["python3", "server.py""#, r#"["no-such-program""#)],
            "no-such-program",
        ),
        (
            "no-tool",
            "serves",
            &[(python, r#"no-such-tool = "some-package""#)],
            "no-such-tool is missing: apt-get install some-package",
        ),
    ];
    let mut paths = vec![peer(&folder, "a-sound-one", "serves", &[])];
    paths.extend(faults.iter().map(|(name, way, replaced, _)| peer(&folder, name, way, replaced)));
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    for path in &paths {
        std::fs::write(path.join("built"), "now\n").unwrap();
    }
    let json = folder.file("all.json");
    let wanted = [&SOME[..], &["--json", &json]].concat();
    let (code, stdout, stderr) = sse_bench(&wanted, &paths);
    assert_eq!(code, Some(2), "{stdout}{stderr}");
    let last = stderr.lines().last().unwrap();
    assert_eq!(last, "sse-bench: not judged: elsewhere, ends, no-program, no-tool, silent");
    let report = report(&folder, "all.json");
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), paths.len());
    assert!(results(&runs[0]).all(|it| it["verdict"] == "pass"), "{stdout}");
    for (name, _, _, words) in faults {
        let run = runs.iter().find(|it| it["name"] == name).unwrap();
        let result = results(run).next().unwrap();
        assert_eq!(result["verdict"], "blocked", "{name}");
        let said = result["actual"].as_str().unwrap();
        assert!(said.contains(words), "{name}: {said}");
        // The table has a row for each.
        assert!(stdout.lines().any(|line| line.starts_with(name)), "{name}: {stdout}");
    }
    // A server that is named must be installed; no other install fails for it.
    let (code, stdout, _) = sse_bench(&["servers", "install"], &paths);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("no-tool      NOT INSTALLED: no-such-tool is missing"), "{stdout}");
    assert!(stdout.ends_with("5 installed, 1 not\n"), "{stdout}");
}

#[test]
fn an_installation_that_fails_says_its_last_words() {
    let folder = Folder::new("peer-install");
    let build = r#""echo built >built""#;
    let path = peer(
        &folder,
        "broken",
        "serves",
        &[(build, r#""echo one; echo 'no network' >&2; exit 7""#)],
    );
    let (code, stdout, _) = sse_bench(&["servers", "install"], &[&path]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("exit status: 7: no network ("), "{stdout}");
    let log = std::fs::read_to_string(path.join("target/install.log")).unwrap();
    assert_eq!(log, "one\nno network\n");
}

#[test]
fn a_server_toml_with_a_mistake_is_one_line_that_names_the_place() {
    let folder = Folder::new("peer-mistakes");
    let mistakes: [(&Replaced, &str); 3] = [
        (&[("language", "langage")], "server.toml, line 4: unknown field `langage`"),
        (&[(", \"{port}\"]", "]")], "`command` has no {port}"),
        (&[("version_command = [\"cat\", \"built\"]", "")], "missing field `version_command`"),
    ];
    for (replaced, words) in mistakes {
        let path = peer(&folder, "mistaken", "serves", replaced);
        let (code, stdout, stderr) = sse_bench(&["servers", "list"], &[&path]);
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stdout}{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

fn report(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&folder.read(name)).unwrap()
}

fn results(run: &Value) -> impl Iterator<Item = &Value> {
    run["results"].as_array().unwrap().iter()
}
