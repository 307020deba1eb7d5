//! Servers of others under load: a room that is sound gives figures, and one that is not gives none.

use std::net::SocketAddr;
use std::time::Duration;

use fleet::{Launch, PORT, READY_DEADLINE, Ready, Server};
use load::ledger::Outcome;
use load::timer::unix_ns;
use load::{Room, Workload, generator};
use wire::Trust;
use wire::publish::PublishArgs;

const SUBSCRIBERS: u64 = 10;
const MESSAGES: u64 = 40;

/// A room of as few lines as can be: one thread, and a way to be wrong from the 20th message on.
const PROGRAM: &str = r#"
import json, selectors, socket, sys, time

way, port = sys.argv[1], int(sys.argv[2])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
readers, heard, held = [], 0, None

def say(text):
    event = b"data: " + json.dumps({"room": "{lobby}", "text": text}).encode() + b"\n\n"
    for reader in readers:
        reader.sendall(event)

def hear(text):
    global heard, held
    heard += 1
    if way == "late":
        time.sleep(0.03)
    if way == "loses" and heard == 20:
        return
    if way == "swaps" and heard == 20:
        held = text
        return
    say(text)
    if way == "doubles" and heard == 20:
        say(text)
    if held:
        say(held)
        held = None

listener = socket.create_server(("127.0.0.1", port))
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            selector.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        request = key.fileobj.recv(65536)
        if request.startswith(b"POST "):
            hear(json.loads(request.split(b"\r\n\r\n", 1)[1])["text"])
            key.fileobj.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif request.startswith(b"GET /room "):
            key.fileobj.sendall(HEAD)
            readers.append(key.fileobj)
        else:
            if request:
                key.fileobj.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            readers = [it for it in readers if it is not key.fileobj]
            selector.unregister(key.fileobj)
            key.fileobj.close()
"#;

fn server(way: &str) -> Server {
    let args = ["-c", PROGRAM, way, PORT].map(str::to_owned).to_vec();
    let ready = Ready::Answer { within: READY_DEADLINE };
    let launch = Launch { binary: "python3".into(), args, ready, ..Launch::default() };
    Server::start(&launch).unwrap()
}

fn outcome(addr: SocketAddr) -> Outcome {
    let way = PublishArgs::post("http://127.0.0.1:1/say".into(), r#"{"text":{json}}"#);
    let publication = way.publication(&Trust::default()).unwrap().unwrap();
    let open_ns = Duration::from_secs(1).as_nanos() as u64;
    let room = Room { open_ns, ..Room::new("/room", publication) };
    let workload = Workload::broadcast(SUBSCRIBERS, 20, MESSAGES, 1);
    let plan = workload.shape.plan_in_room(&room, addr, unix_ns());
    generator::run(&plan, unix_ns, |_| {}).unwrap()
}

#[test]
fn a_sound_room_is_counted_to_the_last_event() {
    let outcome = outcome(server("serves").addr());
    assert_eq!(outcome.fault(), None);
    assert_eq!(outcome.delivered, SUBSCRIBERS * MESSAGES);
    assert_eq!(outcome.latency_ns.len(), SUBSCRIBERS * MESSAGES);
    // Each counts from when it was due.
    assert!(!outcome.emit_lateness_ns.is_empty() && outcome.latency_ns.min() > 0);
}

#[test]
fn a_room_that_loses_doubles_or_swaps_an_event_gives_no_figure() {
    for (way, words) in [
        ("loses", "10 events lost"),
        ("doubles", "10 events doubled"),
        ("swaps", "10 events out of order"),
    ] {
        let fault = outcome(server(way).addr()).fault().unwrap_or_default();
        assert!(fault.contains(words), "{way}: {fault}");
    }
}

#[test]
fn a_room_with_more_work_than_time_does_not_hold_the_rate() {
    // Each message takes it half as long again as there is time.
    let outcome = outcome(server("late").addr());
    assert_eq!(outcome.delivered, SUBSCRIBERS * MESSAGES, "{:?}", outcome.fault());
    let words = outcome.falls_behind().unwrap();
    assert!(words.starts_with("does not hold the rate: "), "{words}");
    let later_ms: u64 = words.split(' ').find_map(|it| it.parse().ok()).unwrap();
    // 10 ms each, over three quarters of 40 messages.
    assert!((250..3000).contains(&later_ms), "{words}");
}
