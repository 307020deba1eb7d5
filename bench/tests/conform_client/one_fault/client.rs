//! A client that is right, but for the fault at hand; it pretends to be a browser as well.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::{Shutdown, TcpStream};
use std::process::exit;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Answer, Gunzip, Part, Url, ask};
use crate::parser::{Item, Parser};
use crate::{fault, fault_in_every_second};

/// The origin of the page that it pretends to stand on.
const ORIGIN: &str = "http://page.example";
/// As many redirections as a browser follows.
const REDIRECTS: usize = 20;
const DEFAULT_RETRY_MS: u64 = 900;
/// A wait that is no loop.
const LEAST_RETRY_MS: u64 = 30;
/// The time that a busy host adds to a wait of nothing.
const HOST_LATE_MS: u64 = 150;
const MOST_RETRY_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Options {
    headers: BTreeMap<String, String>,
    method: Option<String>,
    body: Option<String>,
    last_event_id: Option<String>,
    initial_delay_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    max_event_bytes: Option<usize>,
    close_after_events: Option<u64>,
    with_credentials: bool,
}

/// The connection, for the thread that closes it.
static SOCKET: Mutex<Option<TcpStream>> = Mutex::new(None);
/// Whether it has been closed.
static CLOSED: Mutex<bool> = Mutex::new(false);

struct Client {
    options: Options,
    url: Url,
    /// Where it was redirected to, for a fault.
    last_url: Url,
    parser: Parser,
    requests: usize,
    events: u64,
    first_id: Option<String>,
    sent_id: Option<String>,
    cookie: Option<String>,
    /// Whether the body of the last connection was whole.
    is_whole: bool,
    /// Streams in a row that ended without an event.
    empty: u32,
    /// Connections that a fault opened beside its own.
    others: Vec<Answer>,
}

/// The cases for clients that do not reconnect: in them it is one.
pub const LONE: &[&str] = &["C7.18", "C7.19"];

fn is_lone() -> bool {
    std::env::var("SSE_CASE").is_ok_and(|case| LONE.contains(&case.as_str()))
}

/// Why a connection is over.
enum Over {
    /// Try again.
    Again,
    /// For good.
    Failed,
}

pub fn run(url: &str) -> ! {
    let options = std::env::var("SSE_CASE_OPTIONS").unwrap_or_else(|_| "{}".to_owned());
    let options: Options = serde_json::from_str(&options).expect("the harness writes JSON");
    thread::spawn(close_on_command);
    let url = Url::parse(url).expect("the harness gives a URL");
    let mut parser = Parser::default();
    parser.max_event_bytes = options.max_event_bytes;
    if let Some(id) = options.last_event_id.as_ref().filter(|_| !fault("C1.11")) {
        parser.id.clone_from(id);
    }
    let mut client = Client {
        options,
        last_url: url.clone(),
        url,
        parser,
        requests: 0,
        events: 0,
        first_id: None,
        sent_id: None,
        cookie: None,
        is_whole: true,
        empty: 0,
        others: Vec::new(),
    };
    client.run()
}

/// Obeys the command to close at once, and ends the process with the end of stdin: until then it can
/// be seen that a closed client is silent.
fn close_on_command() {
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        if fault("C6.25") {
            continue;
        }
        closed();
        if fault("C5.07") {
            println!("{}", json!({ "k": "event", "type": "message", "data": "late" }));
        }
        let socket = SOCKET.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = socket.as_ref().filter(|_| !fault("C5.08")) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
    exit(0);
}

/// Says that it is over; from then on nothing is said.
fn closed() {
    // Under the lock: another thread may be about to say something.
    let mut closed = CLOSED.lock().unwrap_or_else(PoisonError::into_inner);
    if !std::mem::replace(&mut *closed, true) {
        println!("{}", json!({ "k": "closed" }));
    }
}

/// Waits for the end of stdin, and thus of the process.
fn wait_for_end() -> ! {
    loop {
        thread::park();
    }
}

fn is_closed() -> bool {
    *CLOSED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: &Value) {
    let closed = CLOSED.lock().unwrap_or_else(PoisonError::into_inner);
    if *closed {
        return;
    }
    let mut out = std::io::stdout().lock();
    // The harness reads no more: there is nothing left to do.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        exit(0);
    }
}

/// A line with what browsers' events are like.
fn say_event(mut line: Value) {
    line["trusted"] = Value::from(!fault("C9.05"));
    line["bubbles"] = Value::from(false);
    line["cancelable"] = Value::from(false);
    say(&line);
}

fn say_state(state: u8) {
    say(&json!({ "k": "state", "v": state }));
}

impl Client {
    fn run(&mut self) -> ! {
        say_state(0);
        if fault("C5.01-early") {
            self.open(&mut false);
        }
        loop {
            let before = self.events;
            let over = self.connection();
            if is_closed() {
                wait_for_end();
            }
            if let Over::Failed = over {
                say_state(2);
                say_event(json!({ "k": "error", "fatal": true }));
                closed();
                wait_for_end();
            }
            self.parser.end();
            self.report(&mut false);
            if is_lone() {
                if !self.is_whole && !fault("C7.18") {
                    say_event(json!({ "k": "error", "fatal": true }));
                }
                closed();
                wait_for_end();
            }
            if !fault("C5.03") {
                say_state(0);
            }
            if !fault("C6.28") {
                say_event(json!({ "k": "error", "fatal": false }));
            }
            let default_ms = self.options.initial_delay_ms.unwrap_or(DEFAULT_RETRY_MS);
            let asked_ms = self.parser.retry_ms.unwrap_or(default_ms);
            let wait_ms = if fault("C8.13") { 0 } else { asked_ms };
            self.empty = if self.events == before { self.empty + 1 } else { 0 };
            let is_loop = fault("C6.10") || fault("C6.10-host");
            let least_ms = match is_loop {
                true if fault("C6.10-host") && self.requests == 1 => HOST_LATE_MS,
                true => 0,
                // Twice as long after each stream that was empty.
                false if fault("C6.27") || fault("C8.13") => LEAST_RETRY_MS,
                false => LEAST_RETRY_MS << self.empty.min(7),
            };
            thread::sleep(Duration::from_millis(wait_ms.clamp(least_ms, MOST_RETRY_MS)));
            if is_closed() {
                wait_for_end();
            }
            self.parser.reset();
            if fault("C6.26") {
                let url = self.url.clone();
                let other = self.ask(&url).ok();
                self.others.extend(other);
            }
        }
    }

    /// One connection, with its redirections, until it is over.
    fn connection(&mut self) -> Over {
        let mut url = if fault("C6.24") { self.last_url.clone() } else { self.url.clone() };
        for redirects in 0.. {
            if redirects > REDIRECTS && !fault("C7.11") && !fault("C7.10") {
                return Over::Failed;
            }
            let mut answer = match self.ask(&url) {
                Ok(answer) => answer,
                Err(_) => {
                    if fault("C6.23") && self.requests > 0 {
                        self.parser.id.clear();
                    }
                    let first = self.requests <= 1;
                    return if fault("C6.04") && first { Over::Failed } else { Over::Again };
                }
            };
            self.requests += 1;
            let location = answer.header("location").map(str::to_owned);
            let follows = matches!(answer.status, 301 | 302 | 303 | 307)
                || (answer.status == 308 && !fault("C7.09"));
            match location {
                Some(location) if follows => {
                    url = url.join(&location);
                    continue;
                }
                None if follows && fault("C7.10") => continue,
                _ => {}
            }
            self.last_url = url.clone();
            return self.stream(&mut answer, &url);
        }
        Over::Failed
    }

    fn ask(&mut self, url: &Url) -> std::io::Result<Answer> {
        let is_first = self.requests == 0;
        let is_elsewhere = *url.authority != *self.url.authority;
        let is_redirected = *url != self.url;
        let has_body = self.options.body.is_some()
            && (is_first || !fault("C1.10"))
            && !(is_redirected && fault("C7.22"));
        let method = match &self.options.method {
            Some(method) if has_body => method.as_str(),
            _ if fault("C1.01") => "POST",
            _ => "GET",
        };
        let host = match url.authority.split_once(':') {
            Some((host, _)) if fault("C1.07") => host,
            _ => &url.authority,
        };
        let target =
            if fault("C1.06") { url.target.replace("%2F", "/") } else { url.target.clone() };
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {ORIGIN}\r\n");
        head += if fault("C1.02") {
            "Accept: application/json\r\n"
        } else {
            "Accept: text/event-stream\r\n"
        };
        if !fault("C1.03") {
            head += "Cache-Control: no-cache\r\n";
        }
        head += "Accept-Encoding: gzip\r\n";
        for (name, value) in &self.options.headers {
            let is_secret = matches!(name.as_str(), "Authorization" | "Cookie");
            let stays = !is_elsewhere || !is_secret || fault("C8.09");
            let stays = stays && !(is_redirected && fault("C7.20"));
            if stays && (is_first || is_elsewhere || !fault("C1.09")) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        if fault("C9.03") {
            head += "Cookie: sse-conformance=1\r\n";
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| !fault("C9.01")) {
            head += &format!("Cookie: {cookie}\r\n");
        }
        let mut request = head.into_bytes();
        let id = self.id_to_send().filter(|_| !(is_redirected && fault("C7.21")));
        if let Some(id) = &id {
            let is_safe = id.len() <= 128
                && !id.iter().any(|it| {
                    b"\"(){}[]<>@,;?\\".contains(it) || *it < 0x20 && *it != 9 || *it == 0x7f
                });
            if !is_safe && !fault("C9.04") && !id.is_empty() {
                self.preflight(url);
            }
            request.extend(b"Last-Event-ID: ");
            request.extend(id);
            request.extend(b"\r\n");
        }
        if let Some(body) = self.options.body.as_ref().filter(|_| has_body) {
            request.extend(
                format!(
                    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .bytes(),
            );
        } else {
            request.extend(b"\r\n");
        }
        let timeout = fault("C7.14").then(|| Duration::from_secs(1));
        ask(url, &request, timeout, |socket| {
            *SOCKET.lock().unwrap_or_else(PoisonError::into_inner) = socket.try_clone().ok();
        })
    }

    /// The id for the next request, as bytes; `None` for no header.
    fn id_to_send(&mut self) -> Option<Vec<u8>> {
        let mut id = self.parser.id.clone();
        if fault("C1.05") && id.is_empty() {
            return Some(Vec::new());
        }
        if !id.is_empty() {
            self.first_id.get_or_insert_with(|| id.clone());
        }
        if fault("C6.16") {
            id = self.first_id.clone().unwrap_or_default();
        }
        if fault("C6.17") && id.is_empty() {
            id = self.sent_id.clone().or_else(|| self.first_id.clone()).unwrap_or_default();
        }
        if fault("C6.20") && !id.is_ascii() {
            id = "?".to_owned();
        }
        if fault("C6.21") {
            id = id.replace([' ', '\t'], "_");
        }
        if fault("C6.22") && id.bytes().any(|it| it.is_ascii_control() && it != b'\t') {
            exit(1);
        }
        if fault("C6.14") && !id.is_empty() {
            id.insert(0, '0');
        }
        if id.is_empty() || id.bytes().any(|it| it.is_ascii_control() && it != b'\t') {
            return None;
        }
        self.sent_id = Some(id.clone());
        Some(id.into_bytes())
    }

    fn preflight(&self, url: &Url) {
        let request = format!(
            "OPTIONS {} HTTP/1.1\r\nHost: {}\r\nOrigin: {ORIGIN}\r\nAccess-Control-Request-Method: GET\r\n\
             Access-Control-Request-Headers: last-event-id\r\n\r\n",
            url.target, url.authority
        );
        let _ = ask(url, request.as_bytes(), Some(Duration::from_secs(5)), |_| ());
    }

    fn stream(&mut self, answer: &mut Answer, url: &Url) -> Over {
        let status = answer.status;
        let again = match status {
            204 => fault("C7.01"),
            400..500 => fault("C7.03"),
            500.. => fault("C7.04"),
            _ => false,
        };
        if again {
            return Over::Again;
        }
        let is_fine = status == 200 || ((205..300).contains(&status) && fault("C7.02"));
        let kind = answer.header("content-type").unwrap_or(if fault("C7.07") {
            "text/event-stream"
        } else {
            ""
        });
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_stream = match essence.as_str() {
            _ if fault("C7.08") => kind == "text/event-stream",
            _ if fault("C7.06") => essence.starts_with("text/"),
            _ if fault("C4.08") && kind.contains("charset=") => false,
            essence => essence == "text/event-stream",
        };
        if !is_fine || !is_stream || !self.is_allowed(answer) {
            return Over::Failed;
        }
        if self.options.with_credentials
            && let Some(cookie) = answer.header("set-cookie")
        {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        let timeout_ms = self.options.read_timeout_ms.or(fault("C7.15").then_some(1000));
        let timeout = timeout_ms.map(Duration::from_millis);
        answer.set_read_timeout(timeout);
        let mut is_open = false;
        if !fault("C5.01") {
            self.open(&mut is_open);
        }
        let mut gunzip = answer.header("content-encoding").map(|_| Gunzip::default());
        let origin = if fault("C5.10") { self.url.origin() } else { url.origin() };
        self.is_whole = true;
        let mut heard = Instant::now();
        loop {
            let part = answer.part();
            match part {
                Part::Bytes(bytes) => {
                    let bytes = gunzip.as_mut().map_or(bytes.clone(), |it| it.part(&bytes));
                    self.parser.push(&bytes);
                    if self.report_from(&origin, &mut is_open) {
                        answer.close();
                        return if fault("C8.13") { Over::Again } else { Over::Failed };
                    }
                    // Comments are silence to it.
                    let is_comment = bytes.starts_with(b":");
                    if fault("C7.16")
                        && is_comment
                        && timeout.is_some_and(|it| heard.elapsed() > it)
                    {
                        return Over::Again;
                    }
                    if !is_comment {
                        heard = Instant::now();
                    }
                }
                Part::End if fault("C6.01") => return Over::Failed,
                Part::Broken if fault("C6.02") || fault("C6.03") => return Over::Failed,
                part => {
                    self.is_whole = matches!(part, Part::End);
                    return Over::Again;
                }
            }
        }
    }

    /// Whether the page may read it, by CORS.
    fn is_allowed(&self, answer: &Answer) -> bool {
        let credentials = self.options.with_credentials;
        match answer.header("access-control-allow-origin") {
            _ if fault("C9.02") => true,
            Some("*") => !credentials,
            Some(origin) => {
                let may = answer.header("access-control-allow-credentials") == Some("true");
                origin == ORIGIN && (may || !credentials)
            }
            None => false,
        }
    }

    fn open(&mut self, is_open: &mut bool) {
        if !std::mem::replace(is_open, true) {
            say_state(1);
            say_event(json!({ "k": "open" }));
        }
    }

    fn report(&mut self, is_open: &mut bool) -> bool {
        let origin = self.last_url.origin();
        self.report_from(&origin, is_open)
    }

    /// Reports what the parser has found; whether it was the end.
    fn report_from(&mut self, origin: &str, is_open: &mut bool) -> bool {
        for item in std::mem::take(&mut self.parser.items) {
            match item {
                Item::Event { kind, data, id } => {
                    self.open(is_open);
                    if data == "x" && (fault("C2.08") || fault_in_every_second("C2.08")) {
                        thread::sleep(Duration::from_millis(1500));
                    }
                    if fault("C8.06") && data == "5000" {
                        continue;
                    }
                    let event = json!({ "k": "event", "type": kind, "data": data, "id": id, "origin": origin });
                    say_event(event);
                    self.events += 1;
                    let closes = self.options.close_after_events == Some(self.events);
                    if closes && !fault("C5.09") {
                        closed();
                        return true;
                    }
                    if closes {
                        self.options.close_after_events = Some(self.events + 1);
                    }
                }
                Item::Comment(text) => {
                    if fault("C5.02") {
                        say(&json!({ "k": "open" }));
                    }
                    say(&json!({ "k": "comment", "text": text }));
                }
                Item::Fail => return true,
            }
        }
        false
    }
}
