//! Rooms that do with a text what their authors like, on purpose: with `--publish` they are accused of
//! nothing. Beside them rooms with one fault, which is one finding; more of these are in `one_fault/ways.rs`.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use conform::server::{Need, Selection, Target, check_each};
use conform::{CaseResult, Deviations, Verdict};
use wire::publish::PublishArgs;
use wire::server::RequestReader;

const PATIENCE: Duration = Duration::from_millis(2500);
/// The time that a batch gathers texts.
const BATCH: Duration = Duration::from_millis(300);
/// The delay of a room in which each text waits.
const LATER: Duration = Duration::from_millis(700);
/// A text of more bytes is large.
const LARGE_BYTES: usize = 4096;
/// The longest text: larger than any of the suite.
const BODY_LIMIT: usize = 4 << 20;
/// The cases that publish, and those that look at the same things without.
const CASES: &[&str] = &[
    "S4", "S5.01", "S5.02", "S5.03", "S5.04", "S6", "S7.01", "S7.04", "S7.07", "S7.08", "S10.03",
    "S10.06",
];

/// The way of a room with texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Nothing; no ids, live only.
    Live,
    /// Several of them are one event, a JSON array.
    Batches,
    /// It trims them, and makes one line of them.
    Tidies,
    /// It takes the first line of each.
    FirstLine,
    /// It makes a message of each line.
    SplitsLines,
    /// It refuses line ends and control characters.
    Refuses,
    /// It takes a KiB at most.
    Short,
    /// Each goes to one of its readers.
    Queue,
    /// A reader gets the newest one, every 50 ms.
    Latest,
    /// Ids are of the reader's own.
    OwnIds,
    /// The time stands before each.
    Stamps,
    /// They come as HTML in JSON.
    Html,
    /// Each reader is greeted, and hears of the others.
    Presence,
    /// They come a second later, each by itself.
    Later,
    /// It passes on two of three, the same to all.
    Filter,
    /// A large one and the next go to readers that have left.
    LosesLarge,
    /// It takes breath after a large one: the next is lost.
    LosesNext,
    /// It takes all, and passes on no more than the first three.
    Limit,
    /// A reader gets all that was ever said.
    History,
    /// A text stands behind `data: ` as it is: each line end of it is one of the stream.
    Raw,
    /// The same, and a reader gets all that was ever said.
    RawHistory,
    /// Every second reader gets nothing.
    Deaf,
    /// The head comes with the first text.
    LateHead,
}

const ROOMS: &[Room] = &[
    Room::Live,
    Room::Batches,
    Room::Tidies,
    Room::FirstLine,
    Room::SplitsLines,
    Room::Refuses,
    Room::Short,
    Room::Queue,
    Room::Latest,
    Room::OwnIds,
    Room::Stamps,
    Room::Html,
    Room::Presence,
    Room::Later,
];

/// Rooms that only some cases could take amiss, or have a fault: the cases to run, and those that fail. Each text
/// that is lost costs a wait.
const OTHERS: &[(Room, &[&str], &[&str])] = &[
    (Room::Filter, &["S4.02", "S5.03", "S7.01", "S7.04", "S7.07", "S7.08"], &[]),
    (Room::LosesLarge, &["S4.10", "S4.11"], &[]),
    (Room::LosesNext, &["S4.10", "S4.11"], &[]),
    (Room::Limit, &["S4.02", "S7.01"], &[]),
    (Room::History, &["S3", "S4.02", "S4.10", "S5.06", "S6", "S7.01", "S7.07", "S7.08"], &[]),
    // Two sides of it: what is lost, and what a stranger can forge.
    (Room::Raw, &["S4", "S10.03"], &["S4.02", "S10.03"]),
    (Room::Deaf, &["S7.01"], &["S7.01"]),
    (
        Room::LateHead,
        &["S1.01", "S1.02", "S1.04", "S1.06", "S1.11", "S2.01", "S4.02", "S5.01", "S6.05", "S7.01"],
        &["S5.01"],
    ),
];

/// The readers, how many there were, and what was said to them.
#[derive(Default)]
struct Said {
    readers: Vec<mpsc::Sender<(Instant, String)>>,
    joined: usize,
    /// Kept, so that the streams stay open.
    deaf: Vec<mpsc::Sender<(Instant, String)>>,
    texts: Vec<String>,
}

type Readers = Arc<Mutex<Said>>;

#[test]
fn a_room_is_not_accused_of_what_its_author_does_with_texts() {
    // Side by side: they wait, and compute little.
    let wrong: Vec<String> = thread::scope(|scope| {
        let usual = ROOMS.iter().map(|room| (*room, CASES, &[][..]));
        let checks: Vec<_> = usual
            .chain(OTHERS.iter().copied())
            .map(|(room, cases, faults)| scope.spawn(move || wrong(room, cases, faults)))
            .collect();
        checks.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The texts of an earlier run, in a room with a history, are not held against it.
#[test]
fn texts_of_the_suite_that_come_back_are_not_judged() {
    let address = start(Room::RawHistory);
    let url = format!("http://{address}/room");
    check(&url, &["S4.02", "S4.08", "S10.03", "S10.06"]).unwrap();
    let target = Target::url(&url, PATIENCE).unwrap().probe(&[]).unwrap();
    let selection = Selection::new(&["S3".to_owned(), "S5.06".to_owned()], &[]).unwrap();
    let results = check_each(&target, &selection, &Deviations::default(), &|_| {});
    let missed: Vec<_> = results.iter().filter(|it| it.is_miss()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

fn check(url: &str, cases: &[&str]) -> Result<Vec<CaseResult>, String> {
    let publishing = PublishArgs {
        publish: Some(url.to_owned()),
        publish_method: "POST".to_owned(),
        publish_body: "{text}".to_owned(),
        ..PublishArgs::default()
    };
    let publication = publishing.publication(&wire::Trust::default()).unwrap().unwrap();
    let target = Target::url(url, PATIENCE)?.with_publication(publication);
    let target = target.probe(&[Need::Text, Need::Publish])?;
    let only: Vec<_> = cases.iter().map(ToString::to_string).collect();
    let selection = Selection::new(&only, &[])?;
    Ok(check_each(&target, &selection, &Deviations::default(), &|_| {}))
}

/// The accusations against a room, but for its fault, and that if it is not found.
fn wrong(room: Room, cases: &[&str], faults: &[&str]) -> Vec<String> {
    let address = start(room);
    let results = match check(&format!("http://{address}/room"), cases) {
        Ok(results) => results,
        Err(words) => return vec![format!("{room:?}: {words}")],
    };
    let is_wrong = |it: &&CaseResult| match it.verdict {
        Verdict::Pass | Verdict::Info | Verdict::Skip => false,
        Verdict::Fail | Verdict::NonStrict => !faults.contains(&it.id.as_str()),
        Verdict::Blocked => !it.because.as_deref().is_some_and(|id| faults.contains(&id)),
        Verdict::Error | Verdict::Adapter => true,
    };
    let words =
        |it: &CaseResult| format!("{room:?}: {} {:?}: {:?}", it.name(), it.verdict, it.actual);
    let mut words: Vec<_> = results.iter().filter(is_wrong).map(words).collect();
    for fault in faults {
        if !results.iter().any(|it| it.id == *fault && it.is_miss()) {
            words.push(format!("{room:?}: {fault} is not found"));
        }
    }
    let is_noted = |id: &str| results.iter().any(|it| it.id == id && it.verdict == Verdict::Info);
    if room == Room::Limit && !is_noted("S7.01") {
        words.push(format!("{room:?}: it is not said that texts are lost"));
    }
    let publishes = |it: &CaseResult| it.id == "S10.06" && it.verdict == Verdict::Pass;
    if cases == CASES && !results.iter().any(publishes) {
        words.push(format!("{room:?}: nothing was published"));
    }
    words
}

fn start(room: Room) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let readers = Readers::default();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let readers = Arc::clone(&readers);
            thread::spawn(move || serve(room, socket, &readers));
        }
    });
    address
}

fn serve(room: Room, socket: TcpStream, readers: &Readers) {
    let socket = Arc::new(socket);
    let mut requests = RequestReader::new(Arc::clone(&socket), BODY_LIMIT);
    while let Some((request, _)) = requests.next_request() {
        let status = match (request.method.as_str(), request.target.starts_with("/room")) {
            ("GET", true) => return read(room, &socket, readers),
            ("POST", true) => publish(room, &String::from_utf8_lossy(&request.body), readers),
            _ => 404,
        };
        let answer = format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n");
        if (&*socket).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The status.
fn publish(room: Room, text: &str, readers: &Readers) -> u16 {
    let texts: Vec<String> = match room {
        Room::Refuses if text.contains(char::is_control) => return 400,
        Room::Short if text.len() > 1024 => return 413,
        Room::Tidies => vec![text.split_whitespace().collect::<Vec<_>>().join(" ")],
        Room::FirstLine => vec![text.lines().next().unwrap_or_default().to_owned()],
        Room::SplitsLines => text.split(['\r', '\n']).map(str::to_owned).collect(),
        _ => vec![text.to_owned()],
    };
    let mut said = readers.lock().unwrap();
    for text in texts {
        let was_large = said.texts.last().is_some_and(|it| it.len() > LARGE_BYTES);
        said.texts.push(text.clone());
        match room {
            Room::LosesLarge if was_large || text.len() > LARGE_BYTES => continue,
            Room::LosesNext if was_large => continue,
            _ => {}
        }
        let number = said.texts.len();
        if (room == Room::Filter && number.is_multiple_of(3)) || (room == Room::Limit && number > 3)
        {
            continue;
        }
        let readers = &mut said.readers;
        if room == Room::Queue && !readers.is_empty() {
            let reader = readers.remove(0);
            if reader.send((Instant::now(), text)).is_ok() {
                readers.push(reader);
            }
            continue;
        }
        readers.retain(|reader| reader.send((Instant::now(), text.clone())).is_ok());
    }
    204
}

/// A reader's stream.
fn read(room: Room, socket: &TcpStream, readers: &Readers) {
    let (sender, texts) = mpsc::channel();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    {
        let mut said = readers.lock().unwrap();
        said.joined += 1;
        if matches!(room, Room::History | Room::RawHistory) {
            said.texts.iter().for_each(|text| sender.send((Instant::now(), text.clone())).unwrap());
        }
        // The first ones are those with which the suite looks around.
        if room != Room::Deaf || said.joined <= 3 || said.joined % 2 == 1 {
            said.readers.push(sender);
        } else {
            said.deaf.push(sender);
        }
    }
    let id = fastrand::u64(..);
    let chunk = |block: &str| {
        let mut socket = socket;
        socket.write_all(format!("{:x}\r\n{block}\r\n", block.len()).as_bytes()).is_ok()
    };
    let mut socket_to_write = socket;
    let mut waits = room == Room::LateHead;
    let mut is_open = waits || socket_to_write.write_all(head.as_bytes()).is_ok();
    if room == Room::Presence {
        is_open &= chunk(&format!("event: hello\ndata: {{\"you\":{id}}}\n\n"));
        is_open &= chunk(": hello\n\n");
    }
    let mut number = 0;
    while is_open {
        let Ok((at, text)) = texts.recv_timeout(Duration::from_secs(1)) else {
            is_open = waits || chunk(":\n\n");
            continue;
        };
        if std::mem::take(&mut waits) && socket_to_write.write_all(head.as_bytes()).is_err() {
            return;
        }
        number += 1;
        let text = match room {
            Room::Latest => {
                thread::sleep(Duration::from_millis(50));
                texts.try_iter().last().map_or(text, |(_, newest)| newest)
            }
            _ => text,
        };
        let data = match room {
            Room::Batches => {
                thread::sleep(BATCH);
                let all: Vec<_> =
                    std::iter::once(text).chain(texts.try_iter().map(|it| it.1)).collect();
                serde_json::to_string(&all).unwrap()
            }
            Room::Stamps => format!("{} {text}", jiff::Timestamp::now()),
            Room::Html => {
                let html = text.replace('<', "&lt;").replace('\n', "<br>");
                serde_json::json!({ "html": format!("<p>{html}</p>") }).to_string()
            }
            _ => text,
        };
        if room == Room::Later {
            thread::sleep((at + LATER).saturating_duration_since(Instant::now()));
        }
        if matches!(room, Room::Raw | Room::RawHistory) {
            is_open = chunk(&format!("data: {data}\n\n"));
            continue;
        }
        let lines = data.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\ndata: ");
        let id = if room == Room::OwnIds { format!("id: {id}-{number}\n") } else { String::new() };
        is_open = chunk(&format!("{id}data: {lines}\n\n"));
    }
}
