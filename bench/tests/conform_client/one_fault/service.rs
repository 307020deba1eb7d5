//! A test service as launchdarkly/sse-contract-tests describes it, around the client of this binary.
//!
//! `GET /` lists the capabilities, `POST /` starts a stream and answers with its Location, `DELETE`
//! of that ends it. The service posts what the client sees to the callback URL, each with the next
//! number.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wire::server::{self, Answer, ReceivedRequest};
use wire::{Connection, Log, Request, base_url};

type Streams = Arc<Mutex<HashMap<usize, Child>>>;

/// The most bytes of a command.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a callback may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until the process ends; the address stands on stdout.
pub fn serve(fault: &str) -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let (streams, fault) = (Streams::default(), fault.to_owned());
    let count = AtomicUsize::new(0);
    server::serve(listener, BODY_LIMIT, move |request| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let bad = || Answer { status: "400 Bad Request", ..Answer::default() };
        answer(request, number, &streams, &fault).unwrap_or_else(bad)
    });
    loop {
        thread::park();
    }
}

fn answer(
    request: &ReceivedRequest,
    number: usize,
    streams: &Streams,
    fault: &str,
) -> Option<Answer> {
    let (method, path) = (request.method.as_str(), request.target.as_str());
    let (status, lines, body) = match (method, path) {
        ("GET", "/") => {
            let names = [
                "comments",
                "headers",
                "post",
                "last-event-id",
                "read-timeout",
                "event-type-listeners",
            ];
            ("200 OK", String::new(), json!({ "name": "tiny", "capabilities": names }).to_string())
        }
        ("POST", "/") => {
            let wanted: Value = serde_json::from_slice(&request.body).ok()?;
            start(&wanted, number, streams, fault)?;
            ("201 Created", format!("Location: /streams/{number}\r\n"), String::new())
        }
        ("POST", _) => ("202 Accepted", String::new(), String::new()),
        ("DELETE", path) => {
            let stream = path.strip_prefix("/streams/")?.parse().ok()?;
            if let Some(mut child) = streams.lock().ok()?.remove(&stream) {
                let _ = child.kill();
                let _ = child.wait();
            }
            ("204 No Content", String::new(), String::new())
        }
        _ => ("404 Not Found", String::new(), String::new()),
    };
    Some(Answer { status, lines, body })
}

fn start(wanted: &Value, number: usize, streams: &Streams, fault: &str) -> Option<()> {
    let (url, callback) =
        (wanted["streamUrl"].as_str()?, wanted["callbackUrl"].as_str()?.to_owned());
    let mut child = Command::new(std::env::current_exe().ok()?)
        .args(["client", "--fault", fault, url])
        .env("SSE_CASE", wanted["tag"].as_str()?)
        .env("SSE_CASE_OPTIONS", wanted.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let lines = BufReader::new(child.stdout.take()?).lines();
    streams.lock().ok()?.insert(number, child);
    let streams = Arc::clone(streams);
    thread::spawn(move || {
        let mut count = 0;
        for line in lines.map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).expect("our own client writes JSON");
            let body = match line["k"].as_str() {
                Some("event") => {
                    let event =
                        json!({ "type": line["type"], "data": line["data"], "id": line["id"] });
                    json!({ "kind": "event", "event": event })
                }
                Some("comment") => json!({ "kind": "comment", "comment": line["text"] }),
                Some("error") => json!({ "kind": "error", "error": "the stream is over" }),
                _ => continue,
            };
            count += 1;
            // Nothing is posted of a stream that was deleted: while it is posted, it is not.
            let Ok(streams) = streams.lock() else { return };
            if !streams.contains_key(&number) {
                return;
            }
            if post(&callback, count, &body.to_string()).is_none() {
                return;
            }
        }
    });
    Some(())
}

fn post(callback: &str, count: usize, body: &str) -> Option<()> {
    let (address, host, path) = base_url(callback).ok()?;
    let request = Request::new("POST", &format!("{path}/{count}"))
        .header("Host", host)
        .header("Content-Type", "application/json")
        .body(body);
    let mut connection = Connection::open(&address, PATIENCE, &Log::new()).ok()?;
    connection.ask(&request).ok().map(|_| ())
}
