//! Counts what a server does for its deliveries: under callgrind, in lockstep with all readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleet::{Launch, Server};
use wire::{Connection, EventStream, Log, Request};

use super::profile::Profile;

/// No step takes so long, under callgrind on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(120);

const TOPIC: &str = "/messages/cost";

/// The text of each message: 64 bytes, as in the workloads.
const MESSAGE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// How much is delivered.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Streams of the topic.
    pub subscribers: usize,
    /// Messages before the count begins: caches fill, buffers grow, timers are made.
    pub uncounted: usize,
    /// Messages that count.
    pub counted: usize,
    /// Streams that are opened afterwards, each to its first event, and counted for themselves.
    pub opened: usize,
}

impl Load {
    /// Deliveries that count.
    pub fn deliveries(&self) -> u64 {
        self.subscribers as u64 * self.counted as u64
    }
}

/// The counts of a server.
pub struct Counts {
    /// For the deliveries.
    pub events: Profile,
    /// For the streams that were opened afterwards.
    pub opening: Profile,
}

/// Starts the server under callgrind with one worker, opens the streams, and publishes. The next
/// message only comes when all streams have the last one: no two are ever ready together, so that a
/// server which writes several at once gets no smaller count.
///
/// # Errors
/// If valgrind is not there, or the server does not deliver each message once to each stream.
pub fn count(launch: &Launch, load: Load, folder: &Path) -> Result<Counts> {
    let valgrind = Command::new("valgrind").arg("--version").output();
    valgrind.context("valgrind cannot be started; install it: apt-get install valgrind")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let out = folder.join("out");
    let server = Server::start(&under_callgrind(launch, &out))?;
    let host = server.addr().to_string();
    let mut audience = Audience::open(&host, load.subscribers)?;
    audience.publish(load.uncounted)?;
    // A dump sets all counts to zero.
    dump(server.pid(), &out, 1)?;
    audience.publish(load.counted)?;
    let events = dump(server.pid(), &out, 2)?;
    // The first time, some code is loaded.
    audience.join(1)?;
    dump(server.pid(), &out, 3)?;
    audience.join(load.opened)?;
    let opening = dump(server.pid(), &out, 4)?;
    // An end that takes long says nothing about the counts.
    let _ = server.stop();
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(Counts { events: Profile::parse(&events)?, opening: Profile::parse(&opening)? })
}

fn under_callgrind(launch: &Launch, out: &Path) -> Launch {
    let mut args: Vec<String> =
        ["--tool=callgrind", "--dump-instr=yes", "--collect-systime=yes"].map(Into::into).into();
    args.push(format!("--callgrind-out-file={}", out.display()));
    args.push(launch.binary.display().to_string());
    args.extend(launch.args.iter().cloned());
    args.extend(["--workers", "1"].map(Into::into));
    // As the machine is fast, comments that keep a stream alive would come or not, and the connection of
    // the publisher would be closed or not while the streams open.
    for deadline in ["--keep-alive-ms", "--request-timeout-ms"] {
        args.extend([deadline, "3600000"].map(Into::into));
    }
    Launch { binary: "valgrind".into(), args, ..launch.clone() }
}

/// Lets callgrind write its counts and begin anew; `number` counts the dumps.
fn dump(pid: u32, out: &Path, number: usize) -> Result<String> {
    let asked = Command::new("callgrind_control").arg("--dump").arg(pid.to_string()).output();
    let asked = asked.context("callgrind_control cannot be started; it comes with valgrind")?;
    let file = PathBuf::from(format!("{}.{number}", out.display()));
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text),
        Err(error) => bail!(
            "callgrind wrote no {} ({error}): {}{}",
            file.display(),
            String::from_utf8_lossy(&asked.stdout),
            String::from_utf8_lossy(&asked.stderr)
        ),
    }
}

/// The streams, and a connection that publishes to them.
struct Audience {
    host: String,
    publisher: Connection,
    streams: Vec<EventStream>,
    /// The ids of the last two messages.
    ids: [String; 2],
    log: Log,
}

impl Audience {
    fn open(host: &str, subscribers: usize) -> Result<Audience> {
        let (host, log) = (host.to_owned(), Log::new());
        let publisher = Connection::open(&host, PATIENCE, &log)?;
        let mut audience =
            Audience { host, publisher, streams: Vec::new(), ids: Default::default(), log };
        for _ in 0..subscribers {
            let connection = Connection::open(&audience.host, PATIENCE, &audience.log)?;
            let request = audience.request("GET", TOPIC);
            audience.streams.push(EventStream::open(connection, &request)?);
        }
        Ok(audience)
    }

    fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("Host", &self.host)
    }

    fn publish(&mut self, messages: usize) -> Result<()> {
        let request = self.request("POST", TOPIC).body(MESSAGE);
        for _ in 0..messages {
            let (head, mut body) = self.publisher.ask(&request)?;
            self.publisher.read_body_to_end(&mut body)?;
            ensure!(head.status == 201, "a message got the answer {}", head.summary());
            let mut ids = Vec::with_capacity(self.streams.len());
            for stream in &mut self.streams {
                let event = stream.next_event()?;
                let event = event.filter(|it| it.data == MESSAGE);
                ids.push(event.context("a stream got another event")?.id);
            }
            // A message that came twice would be the next one of its stream, with an old id.
            let id = ids.pop().unwrap_or_default();
            ensure!(id != self.ids[1] && ids.iter().all(|it| *it == id), "an event came twice");
            self.ids.rotate_left(1);
            self.ids[1] = id;
        }
        Ok(())
    }

    /// Opens more streams, one by one, that have missed the last message and get it at once.
    fn join(&mut self, streams: usize) -> Result<()> {
        for _ in 0..streams {
            let connection = Connection::open(&self.host, PATIENCE, &self.log)?;
            let request = self.request("GET", TOPIC).header("Last-Event-ID", &self.ids[0]);
            let mut stream = EventStream::open(connection, &request)?;
            let event = stream.next_event()?.context("a stream ended before its first event")?;
            ensure!(event.id == self.ids[1], "a stream began with the event {}", event.id);
            self.streams.push(stream);
        }
        Ok(())
    }
}
