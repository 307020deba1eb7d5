//! The nodes: one log that all of them read, right or with one fault, or innocent in a way of their own.
//!
//! A node dies by a switch: its connections end, and new ones are closed unanswered, until it is started.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use wire::server::{ReceivedRequest, RequestReader};

/// The silence between two keep-alive comments.
pub const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// Messages that the nodes retain: fewer than S13.10 publishes.
const RETAINED: usize = 1000;
/// S13.10: those of a node that forgets, and does not say so.
const RETAINED_BY_FAULT: usize = 500;
/// S13.18: the readers that come back and are served, in a node that has that fault.
const SERVED_IN_A_STORM: usize = 20;
/// The time that a batch gathers texts, and that the newest of several waits.
const GATHERED: Duration = Duration::from_millis(60);
/// A text of the suite at most.
const BODY_LIMIT: usize = 1 << 16;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";

/// Nodes of one log. They end with the process.
#[derive(Clone)]
pub struct Nodes {
    shared: Arc<Shared>,
    pub addresses: Vec<SocketAddr>,
}

struct Shared {
    /// The id of a case for its fault, a name for an innocent way, or nothing.
    way: String,
    log: Mutex<Vec<Message>>,
    published: Condvar,
    nodes: Vec<Node>,
    came_back: AtomicUsize,
}

#[derive(Default)]
struct Node {
    is_dead: AtomicBool,
    deaths: AtomicUsize,
    sockets: Mutex<Vec<Arc<TcpStream>>>,
    /// Acknowledged, and not in the log yet: S13.14.
    pending: Mutex<Vec<String>>,
    /// The length of the log when it was started last.
    began_at: AtomicUsize,
}

#[derive(Clone)]
struct Message {
    text: String,
    origin: usize,
}

impl Nodes {
    /// Two nodes.
    pub fn start(way: &str) -> Nodes {
        let any = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Nodes::at(way, vec![any(), any()])
    }

    /// Nodes at these listeners.
    pub fn at(way: &str, listeners: Vec<TcpListener>) -> Nodes {
        let shared = Arc::new(Shared {
            way: way.to_owned(),
            log: Mutex::default(),
            published: Condvar::new(),
            nodes: listeners.iter().map(|_| Node::default()).collect(),
            came_back: AtomicUsize::new(0),
        });
        let addresses = listeners.iter().map(|it| it.local_addr().expect("it is bound")).collect();
        for (at, listener) in listeners.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(at, &listener));
        }
        Nodes { shared, addresses }
    }

    pub fn kill(&self, at: usize) {
        let Shared { nodes, .. } = &*self.shared;
        nodes[at].deaths.fetch_add(1, SeqCst);
        nodes[at].is_dead.store(true, SeqCst);
        lock(&nodes[at].pending).clear();
        let is_dragged = |other: usize| other == at || self.shared.fault("S13.12");
        for (_, node) in nodes.iter().enumerate().filter(|(other, _)| is_dragged(*other)) {
            for socket in lock(&node.sockets).drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }

    pub fn revive(&self, at: usize) {
        let node = &self.shared.nodes[at];
        node.began_at.store(lock(&self.shared.log).len(), SeqCst);
        node.is_dead.store(false, SeqCst);
    }
}

impl Shared {
    fn fault(&self, id: &str) -> bool {
        self.way == id
    }

    fn accept(self: Arc<Shared>, at: usize, listener: &TcpListener) {
        let mut unanswered = Vec::new();
        for socket in listener.incoming().map_while(Result::ok) {
            if self.nodes[at].is_dead.load(SeqCst) {
                // As behind a proxy that does not notice.
                unanswered.extend(self.fault("S13.13").then_some(socket));
                continue;
            }
            let (shared, socket) = (Arc::clone(&self), Arc::new(socket));
            lock(&self.nodes[at].sockets).push(Arc::clone(&socket));
            thread::spawn(move || {
                // It may have died between the look and the list.
                if !shared.nodes[at].is_dead.load(SeqCst) {
                    shared.serve(at, &socket);
                }
                let _ = socket.shutdown(Shutdown::Both);
                lock(&shared.nodes[at].sockets).retain(|it| !Arc::ptr_eq(it, &socket));
            });
        }
    }

    fn serve(&self, at: usize, socket: &Arc<TcpStream>) {
        let mut requests = RequestReader::new(Arc::clone(socket), BODY_LIMIT);
        while let Some((request, _)) = requests.next_request() {
            let topic = request.target.strip_prefix("/messages/");
            let is_room = request.target == "/room" || topic.is_some();
            let status = match request.method.as_str() {
                _ if topic.is_some_and(|it| it.len() > 64) => 400,
                "GET" if self.refuses_id(at, &request) => 404,
                "GET" if is_room => return self.stream(at, &request, socket),
                "POST" if is_room => {
                    self.publish(at, String::from_utf8_lossy(&request.body).into_owned());
                    204
                }
                _ => 404,
            };
            let answer = format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n");
            if (&**socket).write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn refuses_id(&self, at: usize, request: &ReceivedRequest) -> bool {
        self.fault("S13.07") && at == 1 && request.header("last-event-id").is_some()
    }

    fn publish(&self, origin: usize, text: String) {
        let mut texts = vec![text];
        if self.fault("S13.14") && kind(&texts[0]) == "acknowledged" {
            // The acknowledgement is ahead of the log by one.
            texts = lock(&self.nodes[origin].pending).splice(.., texts).collect();
        }
        let mut log = lock(&self.log);
        log.extend(texts.into_iter().map(|text| Message { text, origin }));
        self.published.notify_all();
    }

    /// Where a stream begins, and whether it says that something is lost before.
    fn start(&self, at: usize, request: &ReceivedRequest) -> Option<(usize, bool)> {
        let log = lock(&self.log);
        let published = log.len();
        let id = request.header("last-event-id").map(String::from_utf8_lossy);
        let Some(id) = id else { return Some((published, false)) };
        let is_live_only =
            matches!(self.way.as_str(), "live-only" | "live-only-with-ids" | "latest");
        let prefix = if at == 1 && self.fault("ids-of-the-node") { "b-" } else { "e-" };
        let number = |id: &str| id.strip_prefix(prefix)?.parse::<usize>().ok();
        let known =
            if self.fault("S13.06") { number(&id.replace("b-", "e-")) } else { number(&id) };
        let Some(mut next) = known.filter(|_| !is_live_only) else {
            return Some((published, false));
        };
        if self.fault("S13.08") && at == 1 {
            return Some((published, false));
        }
        let retained = if self.fault("S13.10") && at == 1 { RETAINED_BY_FAULT } else { RETAINED };
        let mut oldest = published.saturating_sub(retained);
        if self.fault("forgets") {
            oldest = oldest.max(self.nodes[at].began_at.load(SeqCst));
        }
        let is_told = next < oldest && !(self.fault("S13.10") && at == 1);
        next = next.max(oldest);
        let kind = log.get(next).map_or("", |it| kind(&it.text));
        let served = self.fault("S13.18") && kind == "storm";
        if served && self.came_back.fetch_add(1, SeqCst) >= SERVED_IN_A_STORM {
            return None;
        }
        Some((next, is_told))
    }

    /// The kind of which a resumed stream loses a text, where the replay meets the live stream.
    fn loses(&self, request: &ReceivedRequest) -> Option<&'static str> {
        let is_other_dead = self.nodes.iter().any(|it| it.is_dead.load(SeqCst));
        request.header("last-event-id").and(match self.way.as_str() {
            "S13.09" => Some("steady"),
            "S13.17" if is_other_dead => Some("during"),
            "S13.19" => Some("rolling"),
            _ => None,
        })
    }

    fn stream(&self, at: usize, request: &ReceivedRequest, socket: &TcpStream) {
        let Some((mut next, is_told)) = self.start(at, request) else { return };
        let deaths = self.nodes[at].deaths.load(SeqCst);
        let mut socket_to_write = socket;
        let mut is_open = socket_to_write.write_all(HEAD.as_bytes()).is_ok();
        let mut write = |block: &str| {
            socket_to_write
                .write_all(format!("{:x}\r\n{block}\r\n", block.len()).as_bytes())
                .is_ok()
        };
        if is_told {
            is_open &= write("event: gap\ndata: {}\n\n");
        }
        let own = format!("{:x}-", fastrand::u32(..));
        let mut held = Held::default();
        let mut loses = self.loses(request);
        while is_open && self.nodes[at].deaths.load(SeqCst) == deaths {
            let messages = self.after(next);
            if messages.is_empty() {
                is_open = (self.fault("S13.11") && at == 1) || write(":\n\n");
                continue;
            }
            let first = next + 1;
            next += messages.len();
            let numbered = (first..).zip(messages).filter(|(_, it)| {
                let is_lost = loses == Some(kind(&it.text)) && loses.take().is_some();
                !is_lost && self.is_for(at, it)
            });
            let numbered = numbered.flat_map(|(number, it)| held.put(&self.way, at, number, it));
            is_open = match self.way.as_str() {
                "batches" => {
                    let (numbers, texts): (Vec<_>, Vec<_>) =
                        numbered.map(|(number, it)| (number, it.text)).unzip();
                    let last = numbers.last().copied().unwrap_or_default();
                    let data = serde_json::to_string(&texts).expect("texts are JSON");
                    texts.is_empty() || write(&format!("id: e-{last}\ndata: {data}\n\n"))
                }
                "latest" => {
                    numbered.last().is_none_or(|(_, it)| write(&format!("data: {}\n\n", it.text)))
                }
                _ => {
                    let mut blocks = numbered.map(|(number, it)| {
                        format!("{}data: {}\n\n", self.id_line(at, number, &it.text, &own), it.text)
                    });
                    blocks.all(|block| write(&block))
                }
            };
        }
    }

    /// The messages from this one on; none if none comes for so long that a comment is due.
    fn after(&self, next: usize) -> Vec<Message> {
        let log = lock(&self.log);
        let nothing_new = |log: &mut Vec<Message>| log.len() <= next;
        let waited = self.published.wait_timeout_while(log, KEEP_ALIVE, nothing_new);
        let (mut log, _) = waited.expect("no thread panics with the lock");
        if matches!(self.way.as_str(), "batches" | "latest") && log.len() > next {
            drop(log);
            thread::sleep(GATHERED);
            log = lock(&self.log);
        }
        log.get(next..).unwrap_or_default().to_vec()
    }

    fn is_for(&self, at: usize, message: &Message) -> bool {
        let is_others = at == 1 && message.origin == 0;
        let was_dead = self.nodes[at].deaths.load(SeqCst) > 0;
        !(is_others && (self.fault("S13.01") || (self.fault("S13.15") && was_dead)))
    }

    fn id_line(&self, at: usize, number: usize, text: &str, own: &str) -> String {
        let id = match self.way.as_str() {
            "live-only" => return String::new(),
            "ids-of-the-connection" => format!("{own}{number}"),
            "S13.06" | "ids-of-the-node" if at == 1 => format!("b-{number}"),
            "S13.05" if at == 1 => format!("e-{}", number + 1),
            // As a node that counts anew: the ids of the texts before its death.
            "S13.16" if at == 1 => match self.before_the_restart(text) {
                Some(before) => format!("e-{before}"),
                None => format!("e-{number}"),
            },
            _ => format!("e-{number}"),
        };
        format!("id: {id}\n")
    }

    fn before_the_restart(&self, text: &str) -> Option<usize> {
        let (before, number) = parts(text).filter(|_| kind(text) == "numbered")?;
        let earlier = format!("{before}{}.", number.checked_sub(4)?);
        Some(lock(&self.log).iter().position(|it| it.text == earlier)? + 1)
    }
}

/// Messages that are held back behind later ones: S13.02 to S13.04.
#[derive(Default)]
struct Held(Vec<(usize, Message)>);

impl Held {
    /// The messages that come out when this one goes in.
    fn put(&mut self, way: &str, at: usize, number: usize, it: Message) -> Vec<(usize, Message)> {
        let text_number = parts(&it.text).map_or(0, |(_, number)| number);
        let first_held = self.0.first().and_then(|it| parts(&it.1.text)).map(|(_, number)| number);
        let holds = at == 1
            && match (way, kind(&it.text)) {
                // All of the publisher that came first, until another one has come.
                ("S13.02", "order") => first_held
                    .map_or(text_number.is_multiple_of(10), |it| it / 10 == text_number / 10),
                ("S13.03", "own") | ("S13.04", "moving") => text_number == 3,
                _ => false,
            };
        if holds {
            self.0.push((number, it));
            return Vec::new();
        }
        let mut out = vec![(number, it)];
        out.append(&mut self.0);
        out
    }
}

/// `t0123456789ab-kind-7.`: all before the number, and the number.
fn parts(text: &str) -> Option<(&str, usize)> {
    let at = text.rfind('-')? + 1;
    Some((&text[..at], text[at..].strip_suffix('.')?.parse().ok()?))
}

fn kind(text: &str) -> &str {
    text.split('-').nth(1).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with the lock")
}
