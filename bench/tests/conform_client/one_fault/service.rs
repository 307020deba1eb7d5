//! A test service as launchdarkly/sse-contract-tests describes it, around the client of this binary.
//!
//! `GET /` lists the capabilities, `POST /` starts a stream and answers with its Location, `DELETE`
//! of that ends it. The service posts what the client sees to the callback URL, each with the next
//! number.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

type Streams = Arc<Mutex<HashMap<usize, Child>>>;

/// Serves until the process ends; the address stands on stdout.
pub fn serve(fault: &str) -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let streams = Streams::default();
    let mut count = 0;
    loop {
        let Ok((socket, _)) = listener.accept() else { continue };
        count += 1;
        let (streams, fault) = (Arc::clone(&streams), fault.to_owned());
        thread::spawn(move || answer(&socket, count, &streams, &fault));
    }
}

fn answer(socket: &TcpStream, number: usize, streams: &Streams, fault: &str) -> Option<()> {
    let mut reader = BufReader::new(socket);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let (status, header, body) = match (method, path) {
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
            let wanted: Value = serde_json::from_slice(&body).ok()?;
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
    let mut socket = socket;
    let length = body.len();
    write!(socket, "HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\n\r\n{body}").ok()
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
    let rest = callback.strip_prefix("http://")?;
    let (authority, path) = rest.split_once('/')?;
    let mut socket = TcpStream::connect(authority).ok()?;
    let length = body.len();
    write!(
        socket,
        "POST /{path}/{count} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).ok()
}
