//! How long does an acknowledgement take, and how many come in a second?
//!
//! Publishers on kept connections send one message after the other, each once the one before is acknowledged. No stream
//! is open meanwhile. Then a reader resumes behind the first message: each one must come once, in order.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use load::bare::thread_cpu_ns;
use serde_json::Value;
use wire::ledger::{Ledger, Promise};
use wire::{Connection, EventStream, Log, Piece, Request, ResponseDecoder};

use super::stage::Stage;
use super::{Measured, Task};

/// A node that does not answer for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The topic of all messages.
const TOPIC: &str = "bus";

/// Bytes of a message.
const TEXT_BYTES: usize = 100;

/// Messages of each publisher before those that count.
const WARM_UP: u64 = 50;

/// One publisher, with one connection.
#[derive(Debug)]
pub(super) struct Publisher {
    address: SocketAddr,
    socket: TcpStream,
    decoder: ResponseDecoder,
}

/// The report of a publisher.
#[derive(Debug, Default)]
struct Told {
    /// Number and id of each message.
    acknowledged: Vec<(u64, String)>,
    /// From the request to the whole answer, of those that count.
    took: Vec<Duration>,
    began: Option<Instant>,
    ended: Option<Instant>,
    cpu_ns: u64,
}

/// Measures, on a node that was just started; `core` is that of the publishers.
pub(super) fn window(
    stage: &Stage,
    publishers: u64,
    messages: u64,
    core: Option<usize>,
) -> Result<Measured> {
    let address = stage.nodes()[0].address();
    let first = Publisher::connect(address)?.publish(TOPIC, &text(0))?;
    let each = messages / publishers;
    let barrier = Barrier::new(usize::try_from(publishers)?);
    let publish = |publisher: u64| run(address, 1 + publisher * (WARM_UP + each), each, &barrier);
    let told = fleet::on_core(core, || {
        thread::scope(|scope| {
            let all: Vec<_> = (0..publishers).map(|it| scope.spawn(move || publish(it))).collect();
            let join = |it: thread::ScopedJoinHandle<'_, Result<Told>>| {
                it.join().unwrap_or_else(|_| Err(anyhow!("a publisher has panicked")))
            };
            all.into_iter().map(join).collect::<Result<Vec<Told>>>()
        })
    })?;
    let void = check(address, &first, &told)?;
    let began = told.iter().filter_map(|it| it.began).min().context("no publisher began")?;
    let ended = told.iter().filter_map(|it| it.ended).max().context("no publisher ended")?;
    let wall_s = (ended - began).as_secs_f64();
    let mut took = load::ledger::new_histogram();
    for it in told.iter().flat_map(|it| &it.took) {
        took.saturating_record(u64::try_from(it.as_nanos())?);
    }
    let us = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
    let busy_s = told.iter().map(|it| it.cpu_ns).sum::<u64>() as f64 / 1e9;
    let label = |what| Task::Publish { publishers, messages }.label(what);
    Ok(Measured {
        figures: vec![
            (label("answer p50, µs"), us(0.50)),
            (label("answer p99, µs"), us(0.99)),
            (label("messages/s"), took.len() as f64 / wall_s),
        ],
        load_share: busy_s / wall_s,
        void,
    })
}

/// One of the publishers. All begin together, and again with the messages that count.
fn run(address: SocketAddr, first: u64, count: u64, barrier: &Barrier) -> Result<Told> {
    let mut publisher = Publisher::connect(address);
    let mut told = Told::default();
    let mut publish = |number: u64, told: &mut Told| -> Result<()> {
        let publisher = publisher.as_mut().map_err(|error| anyhow!("{error:#}"))?;
        let id = publisher.publish(TOPIC, &text(number))?;
        told.acknowledged.push((number, id));
        Ok(())
    };
    let warmed_up = (first..first + WARM_UP).try_for_each(|it| publish(it, &mut told));
    // Even one that failed comes here: the others wait for it.
    barrier.wait();
    warmed_up?;
    let cpu_ns = thread_cpu_ns();
    told.began = Some(Instant::now());
    for number in first + WARM_UP..first + WARM_UP + count {
        let asked = Instant::now();
        publish(number, &mut told)?;
        told.took.push(asked.elapsed());
    }
    told.ended = Some(Instant::now());
    told.cpu_ns = thread_cpu_ns() - cpu_ns;
    Ok(told)
}

/// Reads all messages behind the first one; the words of a finding.
fn check(address: SocketAddr, first: &str, told: &[Told]) -> Result<Option<String>> {
    let mut ledger = Ledger::new(1);
    for (number, id) in told.iter().flat_map(|it| &it.acknowledged) {
        ledger.acknowledge(*number, id);
    }
    let mut stream = subscribe(address, TOPIC, Some(first))?;
    while ledger.reached(0) < ledger.last_acknowledged() {
        let event = match stream.next_event() {
            Ok(Some(event)) => event,
            // Those that are missing are counted below.
            Ok(None) | Err(wire::Error::Timeout { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let number = event.data.split(' ').nth(1).and_then(|it| it.parse().ok());
        match number.filter(|_| event.event == "message") {
            Some(number) => ledger.see(0, number, &event.id),
            None => ledger.stray(0, &format!("event {:?}, data {:.80?}", event.event, event.data)),
        }
    }
    let judgement = ledger.judge(Promise::Whole);
    let found = judgement.of_servers().into_iter().find(|it| it.1.count > 0);
    let words = found.map(|(name, it)| format!("{} {name}: {}", it.count, it.examples.join("; ")));
    let behind = judgement.behind;
    Ok(words.or_else(|| (behind > 0).then(|| format!("{behind} messages never came"))))
}

/// A stream of a topic, from now on or behind an id.
pub(super) fn subscribe(
    address: SocketAddr,
    topic: &str,
    last_event_id: Option<&str>,
) -> Result<EventStream> {
    let address = address.to_string();
    let connection = Connection::open(&address, PATIENCE, &Log::new())?;
    let request = Request::new("GET", &format!("/messages/{topic}")).header("Host", &address);
    let request = match last_event_id {
        Some(id) => request.header("Last-Event-ID", id),
        None => request,
    };
    Ok(EventStream::open(connection, &request)?)
}

/// The text of this message.
pub(super) fn text(number: u64) -> String {
    let mut text = format!("message {number} ");
    let filler = TEXT_BYTES.saturating_sub(text.len());
    text.extend(std::iter::repeat_n('.', filler));
    text
}

impl Publisher {
    pub(super) fn connect(address: SocketAddr) -> Result<Publisher> {
        let socket = TcpStream::connect(address).context("a publisher cannot connect")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Publisher { address, socket, decoder: ResponseDecoder::default() })
    }

    /// The id of the message, once it is acknowledged.
    pub(super) fn publish(&mut self, topic: &str, text: &str) -> Result<String> {
        let (address, bytes) = (self.address, text.len());
        let request = format!(
            "POST /messages/{topic} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n\
             Content-Length: {bytes}\r\n\r\n{text}"
        );
        self.socket.write_all(request.as_bytes())?;
        let (mut status, mut answer, mut buffer) = (0, Vec::new(), [0; 4096]);
        loop {
            let read = self.socket.read(&mut buffer).context("no answer to a message")?;
            ensure!(read > 0, "the node has closed the connection instead of an answer");
            let mut input = &buffer[..read];
            while let Some(piece) = self.decoder.next(&mut input)? {
                match piece {
                    Piece::Head(head) => status = head.status,
                    Piece::Body(bytes) => answer.extend_from_slice(bytes),
                    Piece::End => return id(status, &answer),
                }
            }
        }
    }
}

/// The id in an answer.
fn id(status: u16, answer: &[u8]) -> Result<String> {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    let id = value["id"].as_str().filter(|_| status == 201).map(str::to_owned);
    id.with_context(|| format!("status {status}, {:.80}", String::from_utf8_lossy(answer)))
}
