//! Malformed requests by the thousand: another client loses nothing, and nothing stays behind.

mod grammar;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleet::eventually;
use serde_json::{Value, json};
use socket2::SockRef;
use wire::{Connection, EventStream};

use self::grammar::{Attempt, End};
use super::target::{Running, broken};
use super::{Failure, Figures, Outcome, Size, Target};

/// Clients at a time.
const CLIENTS: u64 = 4;

/// The first requests, after which a server has its working memory.
const WARM_UP: u64 = 300;

/// The memory that a server may have more at the end, bytes: several times what the six have, and far
/// less than a leak of a kilobyte a request makes in the long run.
const GROWTH_LIMIT: u64 = 16 << 20;

/// Between two messages of the honest client.
const PACE: Duration = Duration::from_millis(5);

/// How long a client waits for the answer to a request whose end it has sent.
const ANSWER: Duration = Duration::from_secs(2);
/// And to one that may have no answer.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// How much of the answers it reads.
const ANSWER_BYTES: usize = 128 * 1024;

/// Statuses above 499 that are right answers to such a request: the method or the transfer coding is
/// not implemented (RFC 9110 15.6.2), the version is not supported (15.6.6).
const DOCUMENTED: [u16; 2] = [501, 505];
/// This one only with `Retry-After`: at the limit of streams or topics.
const UNAVAILABLE: u16 = 503;

pub(super) fn promise(size: &Size) -> String {
    format!(
        "{} random malformed requests: an honest client loses nothing, no answer is a server error, \
         and memory and descriptors come back",
        size.requests
    )
}

pub(super) fn run(target: &Target) -> Outcome {
    // Clients that left are seen soon, and messages that were published by chance take little memory.
    let args = ["--keep-alive-ms", "1000", "--retain", "16", "--retain-total-mb", "8"];
    let mut running = target.start(&args)?;
    let outcome = attack(target, &running);
    outcome.map_err(|failure| running.explain(failure))
}

fn attack(target: &Target, running: &Running) -> Outcome {
    let requests = target.size.requests;
    let mut honest = Honest::begin(running)?;
    honest.publish(running)?;
    let fresh = running.usage()?;
    let warm_up = WARM_UP.min(requests / 10);
    let mut answers = crowd(target, running, 0..warm_up, &mut honest)?;
    let before = running.usage()?;
    answers += crowd(target, running, warm_up..requests, &mut honest)?;
    honest.publish(running)?;
    running.is_healthy()?;
    running.has_freed_descriptors(fresh)?;
    // Before memory: a panic that prints a backtrace reads the debug information.
    has_not_panicked(&running.server.stderr())?;
    let after = running.usage()?;
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
    if grown > GROWTH_LIMIT {
        return Err(broken(format!("{} KiB more memory than before", grown / 1024)));
    }
    let mib = grown as f64 / f64::from(1 << 20);
    Ok(Figures {
        headline: format!("{mib:+.1} MiB"),
        all: json!({
            "requests": requests,
            "answers": answers,
            "honest_messages": honest.published,
            "mib_more": mib,
            "descriptors_before": fresh.fds,
            "descriptors_after": after.fds,
        }),
    })
}

/// The requests of these numbers, while the honest client goes on. The number of answers.
fn crowd(
    target: &Target,
    running: &Running,
    numbers: Range<u64>,
    honest: &mut Honest,
) -> Result<u64, Failure> {
    let (next, answers, stop) =
        (AtomicU64::new(numbers.start), AtomicU64::new(0), AtomicBool::new(false));
    let address = running.server.addr();
    let client = || -> Result<(), Failure> {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                break;
            }
            let attempt = Attempt::new(target.seed, number);
            let found = send(address, &attempt).and_then(|answer| judge(&attempt, &answer));
            let found = found.map_err(|failure| {
                stop.store(true, Ordering::Relaxed);
                failure.at(&format!("request {number}, {}", attempt.shown()))
            });
            answers.fetch_add(found?, Ordering::Relaxed);
        }
        Ok(())
    };
    let found = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let mut found = Ok(());
        while found.is_ok() && !clients.iter().all(|it| it.is_finished()) {
            found = honest.publish(running);
            thread::sleep(PACE);
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().fold(found, |found, it| {
            found.and(it.join().expect("a client has nothing that panics"))
        })
    });
    found.map(|()| answers.into_inner())
}

/// A framework may catch a panic and go on, but a connection is lost.
fn has_not_panicked(stderr: &str) -> Result<(), Failure> {
    let places = stderr.lines().filter_map(|it| it.split_once("panicked at ")).map(|it| it.1);
    // Where the package was unpacked says nothing to others.
    let in_package = |place: &str| {
        let (_, rest) = place.split_once("/registry/src/")?;
        rest.split_once('/').map(|it| it.1.to_owned())
    };
    let places = places.map(|it| in_package(it).unwrap_or_else(|| it.to_owned()));
    let places: BTreeSet<String> = places.map(|it| it.trim_end_matches(':').to_owned()).collect();
    match places.len() {
        0 => Ok(()),
        count => {
            let shown = places.into_iter().collect::<Vec<_>>().join(", ");
            Err(broken(format!(
                "panics in {count} place{}: {shown}",
                if count == 1 { "" } else { "s" }
            )))
        }
    }
}

/// A client that does nothing wrong: it publishes, and its stream gets each message.
struct Honest {
    publisher: Connection,
    reader: EventStream,
    published: u64,
}

impl Honest {
    const TOPIC: &str = "/messages/honest";

    fn begin(running: &Running) -> Result<Honest, Failure> {
        let (publisher, reader) = (running.connect()?, running.open(Honest::TOPIC)?);
        Ok(Honest { publisher, reader, published: 0 })
    }

    fn publish(&mut self, running: &Running) -> Result<(), Failure> {
        self.next(running).map_err(|failure| failure.at("the honest client"))
    }

    /// A message, and the same as the next event of the stream.
    fn next(&mut self, running: &Running) -> Result<(), Failure> {
        self.published += 1;
        let data = format!("message {}", self.published);
        let request = running.request("POST", Honest::TOPIC).body(data.as_str());
        let (head, mut body) = self.publisher.ask(&request)?;
        let body = self.publisher.read_body_to_end(&mut body)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if head.status != 201 {
            return Err(broken(format!("{data} was answered with {}", head.summary())));
        }
        let event = self.reader.next_event()?;
        let event =
            event.ok_or_else(|| broken(format!("its stream ended where {data} was due")))?;
        if event.data != data || Some(event.id.as_str()) != answer["id"].as_str() {
            let (kind, id, came) = (event.event, event.id, event.data);
            return Err(broken(format!("{kind} {id:?} {came:?} came where {data} was due")));
        }
        Ok(())
    }
}

/// Plays an attempt. The bytes of the answers, as far as the client waits for them.
fn send(address: SocketAddr, attempt: &Attempt) -> Result<Vec<u8>, Failure> {
    let mut socket = connect(address)?;
    // From here on an error is the end of the connection: the server may close it at any byte.
    let _ = socket.set_nodelay(true);
    let _ = socket.set_write_timeout(Some(ANSWER));
    let sent = attempt.pieces.iter().try_for_each(|piece| socket.write_all(piece));
    let wait = match attempt.end {
        End::Reset => Duration::ZERO,
        End::Open => SHORT_WAIT,
        End::HalfClose => {
            let _ = sent.and_then(|()| socket.shutdown(Shutdown::Write));
            ANSWER
        }
    };
    let answer = read(&mut socket, wait);
    // A reset, if the server has not closed: 240 000 ports would wait for a minute otherwise.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    Ok(answer)
}

/// When the ports of this side are used up, some are free again in a second, or in a minute where the
/// system takes none before.
fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let words = |error: io::Error| format!("cannot connect: {error}");
    eventually(Duration::from_secs(90), PACE, || match TcpStream::connect(address) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            Err(Failure::NotJudged(words(error)))
        }
        Err(error) => Ok(Err(broken(words(error)))),
        Ok(socket) => Ok(Ok(socket)),
    })?
}

/// Reads up to the end of the connection, the beginning of a stream, or the end of the time.
fn read(socket: &mut TcpStream, wait: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut bytes = vec![0; 16 * 1024];
    let deadline = Instant::now() + wait;
    while answer.len() < ANSWER_BYTES
        && memchr::memmem::find(&answer, b"text/event-stream").is_none()
    {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match socket.read(&mut bytes) {
            Ok(count @ 1..) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    answer
}

/// The number of answers; each is HTTP, and none is a server error.
fn judge(attempt: &Attempt, answer: &[u8]) -> Result<u64, Failure> {
    if !answer.is_empty() && !answer.starts_with(b"HTTP/1.") && !attempt.begins_http2() {
        let begin = &answer[..answer.len().min(40)];
        return Err(broken(format!("the answer is no HTTP/1.1: \"{}\"", wire::shown(begin))));
    }
    let mut count = 0;
    for (status, head) in heads(answer) {
        count += 1;
        let retry_after = head.to_ascii_lowercase();
        let says_when = memchr::memmem::find(&retry_after, b"\r\nretry-after:").is_some();
        let is_documented =
            DOCUMENTED.contains(&status) || (status == UNAVAILABLE && says_when) || status < 500;
        if !is_documented {
            return Err(broken(format!("status {status}")));
        }
    }
    Ok(count)
}

/// Status and head of each answer.
fn heads(answer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    memchr::memmem::find_iter(answer, b"HTTP/1.").filter_map(|at| {
        let head = &answer[at..];
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', status @ ..] = head else {
            return None;
        };
        let status = std::str::from_utf8(status.get(..3)?).ok()?.parse().ok()?;
        let end = memchr::memmem::find(head, b"\r\n\r\n").unwrap_or(head.len());
        Some((status, &head[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted_by_their_places() {
        let words = |stderr: &str| match has_not_panicked(stderr) {
            Ok(()) => String::new(),
            Err(failure) => format!("{failure:?}"),
        };
        let of_crate =
            "thread 'w' (7) panicked at /home/me/registry/src/index-1/hyper-1.2/conn.rs:4:9:\n";
        assert_eq!(words("a warning\n"), "");
        let twice = words(&of_crate.repeat(2));
        assert!(twice.contains("panics in 1 place: hyper-1.2/conn.rs:4:9\""), "{twice}");
        let ours = "thread 'main' panicked at src/main.rs:1:2:\nboom\n";
        let both = words(&format!("{of_crate}{ours}"));
        assert!(both.contains("2 places: hyper-1.2/conn.rs:4:9, src/main.rs:1:2"), "{both}");
    }

    #[test]
    fn a_server_error_is_found_in_each_answer_of_a_connection() {
        let attempt = |bytes: &[u8]| Attempt { pieces: vec![bytes.to_vec()], end: End::Open };
        let (get, http2) = (attempt(b"GET / HTTP/1.1"), attempt(b"PRI * HTTP/2.0"));
        assert!(judge(&http2, b"\0\0\x06\x04").is_ok());
        let judge = |answer: &[u8]| match judge(&get, answer) {
            Ok(count) => count.to_string(),
            Err(failure) => format!("{failure:?}"),
        };
        assert_eq!(judge(b""), "0");
        let fine = b"HTTP/1.1 400 Bad\r\n\r\nHTTP/1.1 501 \r\n\r\n".as_slice();
        assert_eq!(judge(fine), "2");
        assert_eq!(judge(b"HTTP/1.1 503 X\r\nretry-After: 5\r\n\r\n"), "1");
        assert!(judge(b"HTTP/1.1 503 X\r\n\r\nretry-after: 5").contains("status 503"));
        let later = [fine, b"okHTTP/1.0 500 Oh\r\n\r\n"].concat();
        assert!(judge(&later).contains("status 500"));
        assert!(judge(b"500").contains("the answer is no HTTP"));
    }
}
