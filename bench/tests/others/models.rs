//! Answers to a POST that end, as the official SDKs of OpenAI and of the Model Context Protocol write and
//! read them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use fleet::{Program, eventually};
use serde::Deserialize;
use serde_json::Value;

use crate::caddy::{LOOK, READY, WORDS_BYTES};
use crate::commands::{data, follow, judge, load, port, said, text};

/// Cases that judge one answer, and take no minute.
const CASES: &str = "S1,S2.01,S2.02,S2.04,S3";
const REQUESTS: u64 = 8;

#[test]
fn an_answer_of_a_model_is_judged_loaded_and_followed() {
    let server = Models::shared();
    let (url, asked) = server.answer("/v1/chat/completions");
    judged(&url, &asked);
    let events = loaded_and_followed(&url, &asked, &["--until", "[DONE]"]);
    // The last is [DONE], which is no JSON.
    let chunks: Vec<Value> =
        data(&events).iter().map_while(|it| serde_json::from_str(it).ok()).collect();
    assert_eq!(chunks.len() + 1, events.len(), "{events:?}");
    let words: String = chunks.iter().filter_map(|it| delta(it)).collect();
    assert_eq!(Some(words.trim_end()), server.sdk().first().map(|it| it.trim_end()));
}

#[test]
fn an_answer_of_a_tool_is_judged_loaded_and_followed() {
    let server = Models::shared();
    let (url, asked) = server.answer("/mcp");
    judged(&url, &asked);
    let events = loaded_and_followed(&url, &asked, &["--once"]);
    let messages: Vec<Value> =
        data(&events).iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let (result, progress) = messages.split_last().expect("an answer has events");
    let lines = progress.iter().map(|it| {
        let number = |name: &str| it["params"][name].as_f64().expect("a number");
        format!("{} of {}", number("progress"), number("total"))
    });
    let result = result["result"]["content"][0]["text"].as_str().expect("a text").to_owned();
    let lines: Vec<_> = lines.chain([result]).collect();
    assert_eq!(lines, server.sdk()[1..], "{events:?}");
}

#[test]
fn a_request_without_its_key_is_refused_in_each_command() {
    let server = Models::shared();
    let (url, asked) = server.answer("/v1/chat/completions");
    let without: Vec<_> = asked.iter().map(|it| it.replace("s3cret", "guessed")).collect();
    let without: Vec<_> = without.iter().map(String::as_str).collect();
    let judged = judge(&url, &without);
    assert_eq!(judged.code, Some(2), "{}", judged.all());
    assert!(
        judged.stderr.contains("401") && judged.stderr.contains("--header"),
        "{}",
        judged.all()
    );
    let once = ["--requests", "2", "--connections", "1"];
    let (code, _, words) = load(&url, &[&without[..], &once].concat());
    assert_eq!((code, words.contains("answered 401")), (2, true), "{words}");
    let (code, events, words) = follow(&url, &without);
    assert_eq!((code, data(&events)), (2, vec![]), "{words}");
    assert!(words.contains("401"), "{words}");
    for words in [&judged.all(), &words] {
        assert!(!words.contains("guessed"), "a key is not shown: {words}");
    }
}

#[track_caller]
fn judged(url: &str, asked: &[&str]) {
    let said = judge(url, &[asked, &["--only", CASES]].concat());
    assert_eq!(said.code, Some(0), "{}", said.all());
    for id in ["S1.01", "S1.02", "S2.01", "S2.04", "S3.01", "S3.12", "S3.13"] {
        assert!(said.verdicts("pass").contains(&id), "{id}: {}", said.all());
    }
}

/// The events of one answer; each of the others has as many.
#[track_caller]
fn loaded_and_followed(url: &str, asked: &[&str], end: &[&str]) -> Vec<Value> {
    let (code, events, words) = follow(url, &[asked, end].concat());
    assert_eq!(code, 0, "{words}");
    let requests = REQUESTS.to_string();
    let (code, report, words) =
        load(url, &[asked, &["--requests", &requests, "--connections", "2"]].concat());
    assert_eq!(code, 0, "{report} {words}");
    let answers = &report["answers"];
    assert_eq!((&answers["asked"], &answers["whole"]), (&REQUESTS.into(), &REQUESTS.into()));
    assert_eq!(report["events"].as_u64(), Some(REQUESTS * events.len() as u64), "{report}");
    events
}

fn delta(chunk: &Value) -> Option<&str> {
    chunk["choices"][0]["delta"]["content"].as_str()
}

/// The server of both SDKs, and how its answers are asked for.
struct Models {
    base: String,
    manifest: Manifest,
    _program: Program,
}

/// The parts of `server.toml` that are needed here.
#[derive(Deserialize)]
struct Manifest {
    command: Vec<String>,
    answer: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    path: String,
    headers: Vec<String>,
    body: String,
}

impl Models {
    /// One for all tests, killed when the process ends.
    fn shared() -> &'static Models {
        static MODELS: OnceLock<Models> = OnceLock::new();
        MODELS.get_or_init(Models::start)
    }

    fn start() -> Models {
        let text = std::fs::read_to_string(folder().join("server.toml")).unwrap();
        let manifest: Manifest = toml::from_str(&text).unwrap();
        let port = port();
        let words: Vec<_> =
            manifest.command.iter().map(|it| it.replace("{port}", &port.to_string())).collect();
        let mut command = Command::new(folder().join(&words[0]));
        command.args(&words[1..]).current_dir(folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let mut program = program.unwrap_or_else(|error| {
            panic!("{command:?}: {error}; bench/servers/start.py python-sdks 8000 makes it")
        });
        let words = program.stderr(WORDS_BYTES).unwrap();
        let address = format!("127.0.0.1:{port}");
        let ready = eventually(READY, LOOK, || std::net::TcpStream::connect(&address));
        ready.unwrap_or_else(|error| panic!("{error}\n{}", words.text()));
        Models { base: format!("http://{address}"), manifest, _program: program }
    }

    /// The URL of an answer, and the options that ask for it.
    fn answer(&self, path: &str) -> (String, Vec<&str>) {
        let mut answers = self.manifest.answer.iter();
        let answer = answers.find(|it| it.path == path).expect("server.toml has it");
        let mut options = vec!["-d", answer.body.as_str()];
        options.extend(answer.headers.iter().flat_map(|it| ["-H", it.as_str()]));
        (format!("{}{path}", self.base), options)
    }

    /// The lines that the clients of the same SDKs print: the model's text, the tool's progress and
    /// its result.
    fn sdk(&self) -> &'static [String] {
        static SDK: OnceLock<Vec<String>> = OnceLock::new();
        SDK.get_or_init(|| {
            let mut python = Command::new(folder().join(".venv/bin/python"));
            let output = said(python.arg("ask.py").arg(&self.base).current_dir(folder()));
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout).lines().map(str::to_owned).collect()
        })
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers/python-sdks")
}
