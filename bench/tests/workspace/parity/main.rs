//! All servers answer the same requests with the same status, headers and bytes.
//!
//! Each row of the table in `requests.rs` is one test: it goes to every server, the answers must be
//! equal, and the status is the one that the contract names. Values of one process (name,
//! host, epoch of the ids) are replaced before the comparison. Where a framework answers by itself,
//! before any code of its user sees the request, `[[parity]]` in the server's `deviations.toml` says
//! so.

mod requests;
#[path = "../servers.rs"]
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conform::Deviations;
use fleet::Server;
use libtest_mimic::{Arguments, Failed, Trial};
use wire::{Connection, EventStream, Log, Request, Result};

use crate::requests::{Probe, Setup, Show, table};

/// The headers that the contract names.
const CONTRACT_HEADERS: [&str; 12] = [
    "Content-Type",
    "Cache-Control",
    "X-Accel-Buffering",
    "Allow",
    "Retry-After",
    "WWW-Authenticate",
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
    "Content-Security-Policy",
];

/// No answer takes long; debug builds on a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a body is shown when answers differ.
const SHOWN_CHARS: usize = 700;

/// All servers with the arguments of one setup.
type Fleet = Arc<Vec<Running>>;

struct Running {
    name: String,
    package: String,
    server: Server,
    /// Of its ids, in this process.
    epoch: String,
    deviations: Deviations,
}

static FLEETS: Mutex<BTreeMap<Setup, Fleet>> = Mutex::new(BTreeMap::new());

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let probes = table();
    let names: Vec<_> = probes.iter().map(|probe| probe.name.clone()).collect();
    let mut trials =
        vec![Trial::test("deviations-name-requests", move || deviations_name_requests(&names))];
    trials.extend(probes.into_iter().map(|probe| {
        Trial::test(probe.name.clone(), move || compare(&probe).map_err(Failed::from))
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Statics are not dropped, and dropping is what ends the processes.
    FLEETS.lock().unwrap_or_else(PoisonError::into_inner).clear();
    conclusion.exit_code()
}

/// The part of an answer that must equal the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// The reaction of a server: its answer, or why there was none.
type Given = std::result::Result<Answer, String>;

fn compare(probe: &Probe) -> std::result::Result<(), String> {
    let fleet = fleet(probe.setup)?;
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let mut answers: BTreeMap<Given, Vec<&str>> = BTreeMap::new();
    let mut deviating = Vec::new();
    for running in fleet.iter() {
        let host = running.server.addr().to_string();
        let words = Words { server: &running.package, host: &host, epoch: &running.epoch, moment };
        let given = ask(probe, &words);
        let given = given.map_err(|(error, log)| format!("{error}\n{}", log.render()));
        match running.deviations.parity().iter().any(|it| it.request == probe.name) {
            true => deviating.push((&running.name, given)),
            false => answers.entry(given).or_default().push(&running.name),
        }
    }
    for (name, given) in deviating {
        if answers.contains_key(&given) {
            return Err(format!("{name} lists this in deviations.toml, yet answers as the others"));
        }
    }
    let as_expected = |given: &Given| given.as_ref().is_ok_and(|it| it.status == probe.status);
    if answers.len() <= 1 && answers.keys().all(as_expected) {
        return Ok(());
    }
    Err(differences(probe, &answers))
}

fn differences(probe: &Probe, answers: &BTreeMap<Given, Vec<&str>>) -> String {
    let mut text = format!("expected status {} of all\n", probe.status);
    for (given, names) in answers {
        let _ = writeln!(text, "--- {}", names.join(", "));
        match given {
            Ok(answer) => {
                let _ = writeln!(text, "status {}", answer.status);
                for (name, value) in &answer.headers {
                    let _ = writeln!(text, "{name}: {value}");
                }
                let shown: String = answer.body.chars().take(SHOWN_CHARS).collect();
                let _ = writeln!(text, "{} characters: {shown}", answer.body.chars().count());
            }
            Err(error) => text.push_str(error),
        }
    }
    text
}

fn fleet(setup: Setup) -> std::result::Result<Fleet, String> {
    let mut fleets = FLEETS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fleet) = fleets.get(&setup) {
        return Ok(Arc::clone(fleet));
    }
    let mut fleet = Vec::new();
    for package in servers::packages() {
        let server = servers::start(package, setup.arguments())?;
        let epoch = epoch(&server.addr().to_string(), setup)
            .map_err(|error| format!("{} shows no epoch: {error}", package.name))?;
        let deviations = Deviations::read(&package.folder)?;
        let name = package.short_name().to_owned();
        let package = package.name.clone();
        fleet.push(Running { name, package, server, epoch, deviations });
    }
    let fleet = Arc::new(fleet);
    fleets.insert(setup, Arc::clone(&fleet));
    Ok(fleet)
}

/// Every deviation names a request that there is.
fn deviations_name_requests(names: &[String]) -> std::result::Result<(), Failed> {
    for package in servers::packages() {
        for deviation in Deviations::read(&package.folder)?.parity() {
            if !names.contains(&deviation.request) {
                let name = &package.name;
                return Err(format!("{name} lists {:?}: no such request", deviation.request).into());
            }
        }
    }
    Ok(())
}

/// The epoch of a process, from the id of a first message.
fn epoch(host: &str, setup: Setup) -> Result<String> {
    let request = Request::new("POST", "/messages/epoch").header("Host", host).body("first");
    let request = match setup {
        Setup::Token | Setup::OriginAndToken => request.header("Authorization", "Bearer secret"),
        _ => request,
    };
    let mut connection = Connection::open(host, PATIENCE, &Log::new())?;
    let (_, mut body) = connection.ask(&request)?;
    let body = String::from_utf8_lossy(&connection.read_body_to_end(&mut body)?).into_owned();
    let id = body.strip_prefix("{\"id\":\"").and_then(|rest| rest.split_once('-'));
    Ok(id.map(|(epoch, _)| epoch.to_owned()).unwrap_or_else(|| format!("none in {body}")))
}

/// The values of HOST, EPOCH, SECONDS and TENTHS in a request, and the server's own values in an
/// answer.
struct Words<'a> {
    server: &'a str,
    host: &'a str,
    epoch: &'a str,
    moment: Duration,
}

impl Words<'_> {
    fn fill(&self, bytes: &[u8]) -> Vec<u8> {
        // A little in the past, so that there is something to replay.
        let seconds = (self.moment.as_secs() - 3).to_string();
        let tenths = (self.moment.as_millis() / 100 - 5).to_string();
        let words = [
            ("HOST", self.host),
            ("EPOCH", self.epoch),
            ("SECONDS", seconds.as_str()),
            ("TENTHS", tenths.as_str()),
        ];
        words.iter().fold(bytes.to_vec(), |bytes, (word, value)| {
            replace(&bytes, word.as_bytes(), value.as_bytes())
        })
    }

    fn take_out(&self, bytes: &[u8]) -> String {
        let bytes = replace(bytes, self.host.as_bytes(), b"HOST");
        let bytes = replace(&bytes, self.epoch.as_bytes(), b"EPOCH");
        let bytes = replace(&bytes, self.server.as_bytes(), b"SERVER");
        bytes.escape_ascii().to_string()
    }
}

fn ask(probe: &Probe, words: &Words<'_>) -> std::result::Result<Answer, (wire::Error, Log)> {
    let log = Log::new();
    let with_log = |error| (error, log.clone());
    let mut held = Vec::new();
    for request in &probe.before {
        let mut connection = Connection::open(words.host, PATIENCE, &log).map_err(with_log)?;
        connection.send(&words.fill(&request.to_bytes())).map_err(with_log)?;
        connection.read_head().map_err(with_log)?;
        // A stream stays open until the probe has been answered.
        held.push(connection);
    }
    let connection = Connection::open(words.host, PATIENCE, &log).map_err(with_log)?;
    answer(probe, words, connection).map_err(with_log)
}

fn answer(probe: &Probe, words: &Words<'_>, mut connection: Connection) -> Result<Answer> {
    let mut bytes = words.fill(&probe.request.to_bytes());
    bytes.extend_from_slice(&probe.tail);
    let sent = connection.send(&bytes);
    let head = connection.read_head().map_err(|error| sent.err().unwrap_or(error))?;
    let mut body = wire::Body::new(probe.request.method(), &head)?;
    let status = head.status;
    let headers = CONTRACT_HEADERS
        .iter()
        .filter(|_| !matches!(probe.show, Show::Status))
        .filter_map(|name| Some((*name, words.take_out(head.value(name)?.as_bytes()))))
        .collect();
    let body = match probe.show {
        _ if status != probe.status => String::new(),
        Show::Whole => words.take_out(&connection.read_body_to_end(&mut body)?),
        Show::Events(count) => {
            let events = EventStream::new(connection, head, body).take(count)?;
            let lines = events.iter().map(|it| format!("{} {} {}\n", it.event, it.id, it.data));
            words.take_out(lines.collect::<String>().as_bytes())
        }
        Show::Keys => {
            let text = words.take_out(&connection.read_body_to_end(&mut body)?);
            text.split(|it: char| it.is_ascii_digit() || it == '.')
                .filter(|it| !it.is_empty())
                .collect()
        }
        Show::Head | Show::Status => String::new(),
    };
    Ok(Answer { status, headers, body })
}

fn replace(bytes: &[u8], word: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + word.len()..];
    }
    out.extend_from_slice(rest);
    out
}
