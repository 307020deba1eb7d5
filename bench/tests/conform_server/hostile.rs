//! `conform server` against targets that are hostile, broken, or no server of events at all.
//!
//! For any target the command ends within a bounded time and memory: with verdicts, with
//! BLOCKED, or with exit code 2 and one line. It never hangs, panics, or blames a server for what
//! was not seen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::bounded::{self, Said};
use crate::target::{self, Hostile, STREAM_HEAD, read_request, serve_events};

/// A command that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(90);

fn conform(url: &str, args: &[&str]) -> Said {
    let arguments = [&["server", url, "--patience-ms", "400"], args].concat();
    bounded::conform(&arguments, DEADLINE)
}

/// It could not run, and says why in one line that ends in advice.
fn cannot_run(target: &Hostile, words: &str) {
    let said = conform(&target.url(), &[]);
    assert_eq!(said.code, Some(2), "{}", said.all());
    assert_eq!(said.stderr.trim_end().lines().count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains(words), "{words:?} is not in {}", said.stderr);
}

fn answer(bytes: &'static [u8]) -> Hostile {
    Hostile::start(move |mut socket, _| {
        read_request(&mut socket);
        let _ = socket.write_all(bytes);
        // The peer goes on or gives up; its choice is what is tested.
        let _ = socket.read(&mut [0; 64]);
    })
}

/// Writes the same bytes for as long as the client takes them.
fn flood(socket: &mut TcpStream, bytes: &[u8]) {
    while socket.write_all(bytes).is_ok() {}
}

#[test]
fn never_answers() {
    let silent = Hostile::start(|mut socket, _| {
        let _ = socket.read_to_end(&mut Vec::new());
    });
    cannot_run(&silent, "does not answer");
}

#[test]
fn closes_or_resets_at_once() {
    cannot_run(&Hostile::start(|_, _| ()), "does not answer");
    // A reset that overtakes the end of the connecting would be another error.
    let resets = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    });
    cannot_run(&resets, "does not answer");
}

#[test]
fn nobody_listens() {
    let said = conform("http://127.0.0.1:1/", &[]);
    assert_eq!((said.code, said.stderr.lines().count()), (Some(2), 1), "{}", said.all());
    let began = Instant::now();
    let said = conform("http://127.0.0.1:1/", &["--wait", "600ms"]);
    assert_eq!((said.code, said.stderr.lines().count()), (Some(2), 1), "{}", said.all());
    assert!(began.elapsed() >= Duration::from_millis(600));
    for url in ["https://127.0.0.1/", "http://", "ftp://x/", "http://no-such-host.invalid/"] {
        let said = conform(url, &[]);
        assert_eq!((said.code, said.stderr.lines().count()), (Some(2), 1), "{}", said.all());
    }
}

#[test]
fn waits_for_a_server_that_comes_late() {
    let late = Hostile::start_after(Duration::from_millis(500), serve_events);
    let said = conform(&late.url(), &["--wait", "20s", "--only", "S1.01,S1.02"]);
    assert_eq!(said.code, Some(0), "{}", said.all());
}

#[test]
fn a_head_that_drips_or_never_ends() {
    let drips = Hostile::start(|mut socket, _| {
        let head = b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'a'));
        for byte in head {
            if socket.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    cannot_run(&drips, "does not answer");
    let endless = Hostile::start(|mut socket, _| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n");
        flood(&mut socket, b"X-More: and more\r\n");
    });
    cannot_run(&endless, "longer than");
}

#[test]
fn interim_answers_without_end() {
    let interim = Hostile::start(|mut socket, _| {
        flood(&mut socket, b"HTTP/1.1 100 Continue\r\n\r\n");
    });
    cannot_run(&interim, "interim answers");
}

#[test]
fn no_http() {
    let floods = Hostile::start(|mut socket, _| flood(&mut socket, &[0xa5; 65536]));
    cannot_run(&floods, "is it an HTTP server");
    cannot_run(&answer(b"220 mail.example ESMTP\r\n"), "is it an HTTP server");
    // A fatal alert, as a TLS server answers to plain text.
    cannot_run(&answer(b"\x15\x03\x01\x00\x02\x02\x46"), "TLS");
    // An empty SETTINGS frame, and GOAWAY.
    cannot_run(&answer(b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\x01"), "HTTP/2");
    cannot_run(&answer(b"HTTP/2 200\r\n\r\n"), "not valid HTTP/1.1");
}

#[test]
fn http_but_no_event_stream() {
    let redirect =
        b"HTTP/1.1 302 Found\r\nLocation: http://x.example/y\r\nContent-Length: 0\r\n\r\n";
    cannot_run(&answer(redirect), "redirects to http://x.example/y");
    cannot_run(&answer(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"), "--header");
    cannot_run(
        &answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"),
        "URL of a stream",
    );
    cannot_run(
        &answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/\x1b[31mred\r\nContent-Length: 0\r\n\r\n"),
        "URL of a stream",
    );
}

#[test]
fn a_flood_of_events_is_read_in_part() {
    let floods = Hostile::start(|mut socket, _| {
        let is_old = read_request(&mut socket).contains(" HTTP/1.0");
        let _ = socket.write_all(target::head(is_old).as_bytes());
        let events = "data: x\n\n".repeat(1000);
        let chunk = format!("{:x}\r\n{events}\r\n", events.len());
        flood(&mut socket, if is_old { events.as_bytes() } else { chunk.as_bytes() });
    });
    let said = conform(&floods.url(), &["--only", "S1,S2,S3,S5"]);
    assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
    assert_eq!(said.code, Some(0), "{}", said.all());
}

#[test]
fn ten_gigabytes_on_one_line_are_read_in_part() {
    let endless = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let head = STREAM_HEAD.replace("Transfer-Encoding: chunked", "Content-Length: 10737418240");
        let _ = socket.write_all(format!("{head}data: ").as_bytes());
        flood(&mut socket, &[b'x'; 65536]);
    });
    let said = conform(&endless.url(), &["--only", "S1,S2,S3,S5,S8"]);
    assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
    // Only that a stream should not say how long it is.
    assert_eq!(said.verdicts("non-strict"), ["S1.08"], "{}", said.all());
    // One chunk of nearly all there can be.
    let chunk = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let _ = socket.write_all(format!("{STREAM_HEAD}ffffffffffffffff\r\ndata: ").as_bytes());
        flood(&mut socket, &[b'x'; 65536]);
    });
    let said = conform(&chunk.url(), &["--only", "S1,S2,S3,S5,S8", "--skip", "S2.07"]);
    // In chunks to HTTP/1.0 too, which is a separate case.
    assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
}

#[test]
fn a_stream_that_says_nothing_is_accused_of_nothing() {
    let silent = Hostile::start(|mut socket, _| {
        let is_old = read_request(&mut socket).contains(" HTTP/1.0");
        let _ = socket.set_read_timeout(None);
        let _ = socket.write_all(target::head(is_old).as_bytes());
        // Open until the client leaves.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let said = conform(&silent.url(), &["--only", "S1,S2,S3,S5,S6,S8"]);
    assert_eq!(said.verdicts("fail"), [""; 0], "{}", said.all());
}

/// Metrics and a command that starts it open cases which need a busy stream: one at rest is none.
#[test]
fn a_room_at_rest_with_metrics_and_a_process_is_accused_of_nothing() {
    let server = crate::report::own_server().expect("it builds");
    let port = fleet::free_port().unwrap();
    let start = format!("exec {} --port {port}", server.to_str().unwrap());
    let url = format!("http://127.0.0.1:{port}/messages/room");
    let said = conform(&url, &["--only", "S8.01,S8.06,S11.03,S11.04", "--start-cmd", &start]);
    assert_eq!(said.verdicts("skip").len(), 4, "{}", said.all());
}

#[test]
fn binary_in_a_stream_is_a_verdict() {
    let binary = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let noise: Vec<u8> =
            (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let _ = socket.write_all(STREAM_HEAD.as_bytes());
        loop {
            let sent = socket
                .write_all(format!("{:x}\r\n", noise.len()).as_bytes())
                .and_then(|()| socket.write_all(&noise))
                .and_then(|()| socket.write_all(b"\r\n"));
            if sent.is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let said = conform(&binary.url(), &["--only", "S1,S2,S3"]);
    assert_eq!(said.code, Some(1), "{}", said.all());
    assert!(said.verdicts("fail").contains(&"S3.01"), "{}", said.all());
    assert!(!said.stdout.contains(char::from(0x1b)), "escape sequences reach the terminal");
}

#[test]
fn bad_framing_is_a_verdict() {
    let bad = Hostile::start(|mut socket, _| {
        read_request(&mut socket);
        let _ = socket.write_all(format!("{STREAM_HEAD}9\r\ndata: x\n\n\r\n-5\r\n").as_bytes());
        let _ = socket.read(&mut [0; 64]);
    });
    let said = conform(&bad.url(), &["--only", "S2.02"]);
    assert_eq!(said.verdicts("fail"), ["S2.02"], "{}", said.all());
}

#[test]
fn a_server_that_dies_in_the_middle_is_blocked_and_not_blamed() {
    let mut blocked = 0;
    for connections in (3..60).step_by(4) {
        let dies = Hostile::start_for(connections, serve_events);
        let said = conform(&dies.url(), &["--only", "S1,S2,S3,S5", "--profile", "generic"]);
        for verdict in ["fail", "non-strict"] {
            let misses = said.verdicts(verdict);
            assert!(misses.is_empty(), "after {connections}: {misses:?}\n{}", said.all());
        }
        if !said.verdicts("blocked").is_empty() {
            blocked += 1;
            assert_eq!(said.code, Some(said.code_if_blocked()), "{}", said.all());
        }
    }
    assert!(blocked > 5, "{blocked} runs saw the end");
}

#[test]
fn a_server_that_falls_silent_in_the_middle_is_blocked_within_bounds() {
    for limit in [4, 9, 20] {
        let hangs = Hostile::start(move |mut socket, number| {
            if number <= limit {
                serve_events(socket, number);
            } else {
                let _ = socket.read_to_end(&mut Vec::new());
            }
        });
        let said = conform(&hangs.url(), &["--only", "S1,S2,S3", "--profile", "generic"]);
        assert_eq!(said.verdicts("fail"), [""; 0], "after {limit}: {}", said.all());
        assert!(!said.verdicts("blocked").is_empty(), "after {limit}: {}", said.all());
        assert_eq!(said.code, Some(said.code_if_blocked()), "{}", said.all());
    }
}

#[test]
fn the_headers_of_the_user_are_sent() {
    let asks = Hostile::start(|mut socket, number| {
        let request = read_request(&mut socket);
        if request.contains("Authorization: Bearer secret\r\n") {
            target::stream(socket, number, &request);
        } else {
            let _ = socket.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        }
    });
    assert_eq!(conform(&asks.url(), &["--only", "S1"]).code, Some(2));
    let header = ["--only", "S1,S2", "--header", "Authorization: Bearer secret"];
    let said = conform(&asks.url(), &header);
    assert_eq!(said.code, Some(0), "{}", said.all());
}

#[test]
fn a_baseline_makes_the_listed_miss_expected_and_any_other_not() {
    let odd = Hostile::start(|mut socket, number| {
        let request = read_request(&mut socket).replace("HTTP/1.0", "HTTP/1.1");
        target::stream(socket, number, &request);
    });
    let only = ["--scope", "all", "--only", "S1.01,S2.07"];
    assert_eq!(conform(&odd.url(), &only).code, Some(1), "1.0 is answered in chunks");
    let file = std::env::temp_dir().join(format!("sse-baseline-{}.toml", std::process::id()));
    let entry = |case: &str| {
        format!("[[deviation]]\ncase = \"{case}\"\nreason = \"known\"\nversion = \"1\"\n")
    };
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        conform(&odd.url(), &[&only[..], &["--baseline", path]].concat()).code
    };
    assert_eq!(with(&entry("S2.07")), Some(0), "listed");
    assert_eq!(with(&format!("{}{}", entry("S2.07"), entry("S1.01"))), Some(1), "stale");
    assert_eq!(with(""), Some(1), "not listed");
    assert_eq!(with("nonsense"), Some(2), "no baseline");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn floods_and_stops_stay_on_this_host() {
    // An address of this machine that is not loopback stands for any other host.
    let Some(address) = target::own_address() else {
        eprintln!("this machine has only loopback; the rule is checked by Target's own tests");
        return;
    };
    let far = Hostile::start_at(address, serve_events);
    let pid = std::process::id().to_string();
    let said = conform(&far.url(), &["--pid", &pid, "--only", "S11"]);
    assert_eq!(said.code, Some(2), "{}", said.all());
    assert!(said.stderr.contains("--i-own-this-server"), "{}", said.stderr);
    let said = conform(&far.url(), &["--profile", "full", "--only", "S10.09,S1.01"]);
    assert_eq!(said.verdicts("skip"), ["S10.09"], "{}", said.all());
}
