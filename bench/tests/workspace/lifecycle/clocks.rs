//! A wall clock that is set while streams are open: no stream falls silent, none floods.
//!
//! libfaketime sets the clock of one process, never that of the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fleet::{Launch, Package, Server};
use libtest_mimic::Failed;
use serde_json::Value;
use wire::{EventStream, Request};

use crate::{PATIENCE, connect, servers, slow_clients};

const HOUR: Duration = Duration::from_secs(3600);

/// The time that may pass while the clock is set, on a busy host.
const MEANWHILE: Duration = Duration::from_secs(60);

/// A silent stream has a comment each time that this is over.
const KEEP_ALIVE: Duration = Duration::from_millis(200);

/// Events above one in each interval: the first, a gap and an event at once after each step, and a
/// clock that is set between two seconds. A flood has thousands.
const EXTRA: u128 = 8;

/// Forward by an hour, then back by an hour, with one gap each.
pub fn lets_the_clock_be_set(package: &Package) -> Result<(), Failed> {
    let clock = WallClock::new(&package.name)?;
    let server = Server::start(&clock.launch(package)?).map_err(|error| format!("{error:#}"))?;
    let mut ticks = Paced::open(&server, "/ticks?interval_ms=100", Duration::from_millis(100))?;
    let mut clocked = [
        Paced::open(&server, "/time", Duration::from_secs(1))?,
        Paced::open(&server, "/simulation", Duration::from_millis(100))?,
    ];
    let mut silent = Paced::open(&server, "/messages/t", KEEP_ALIVE)?;
    let mut all_go_on = |clocked: &mut [Paced; 2]| -> Result<(), Failed> {
        clocked.iter_mut().try_for_each(|stream| stream.follow(1))?;
        ticks.follow(10)?;
        silent.stay_alive()?;
        slow_clients::publish(server.addr())?;
        silent.events.take(1)?;
        Ok(())
    };
    all_go_on(&mut clocked)?;

    clock.set(HOUR)?;
    for stream in &mut clocked {
        let (gap, before, after) = stream.gap()?;
        let missed = after.saturating_sub(before + 1);
        if gap["missed"].as_u64() != Some(missed) || !stream.is_an_hour(missed) {
            return Err(format!("{}: {before}, {gap}, {after}", stream.target).into());
        }
    }
    all_go_on(&mut clocked)?;

    clock.set(Duration::ZERO)?;
    for stream in &mut clocked {
        let (gap, before, after) = stream.gap()?;
        if gap["reset"] != true || !stream.is_an_hour(before.saturating_sub(after)) {
            return Err(format!("{}: {before}, {gap}, {after}", stream.target).into());
        }
        let last = before.to_string();
        let mut resumed = open(&server, stream.target, |it| it.header("Last-Event-ID", &last))?;
        let first = resumed.take(1)?.remove(0);
        if first.event != "gap" || !first.data.contains("reset") {
            return Err(format!("{} resumes {last}: {first:?}", stream.target).into());
        }
    }
    all_go_on(&mut clocked)
}

/// A stream that has events at known intervals.
struct Paced {
    target: &'static str,
    interval: Duration,
    opened: Instant,
    events: EventStream,
    seen: u128,
    /// The last id, unless a gap is behind it.
    last: Option<u64>,
}

impl Paced {
    fn open(server: &Server, target: &'static str, interval: Duration) -> Result<Paced, Failed> {
        let opened = Instant::now();
        let events = open(server, target, |request| request)?;
        Ok(Paced { target, interval, opened, events, seen: 0, last: None })
    }

    /// So many events, each with the next id.
    fn follow(&mut self, count: usize) -> Result<(), Failed> {
        for _ in 0..count {
            if let Some(gap) = self.next()? {
                return Err(format!("{}: {gap} once more", self.target).into());
            }
        }
        Ok(())
    }

    /// The gap that is to come, the last id before it, and the first one behind it.
    fn gap(&mut self) -> Result<(Value, u64, u64), Failed> {
        let deadline = Instant::now() + PATIENCE;
        let gap = loop {
            if let Some(gap) = self.next()? {
                break gap;
            }
            if Instant::now() > deadline {
                return Err(format!("{}: no gap", self.target).into());
            }
        };
        let before = self.last.take().ok_or("a gap before any event")?;
        self.follow(1)?;
        Ok((gap, before, self.last.ok_or("no id")?))
    }

    /// The next event: its id follows the last one, or it is a gap.
    fn next(&mut self) -> Result<Option<Value>, Failed> {
        let event = self.events.take(1).map_err(|error| format!("{}: {error}", self.target))?;
        self.seen += 1;
        self.floods_not(self.seen)?;
        if event[0].event == "gap" {
            return Ok(Some(serde_json::from_str(&event[0].data)?));
        }
        let id: u64 = event[0].id.parse()?;
        if self.last.is_some_and(|last| id != last + 1) {
            return Err(format!("{}: {id} after {:?}", self.target, self.last).into());
        }
        self.last = Some(id);
        Ok(None)
    }

    /// A few more comments come.
    fn stay_alive(&mut self) -> Result<(), Failed> {
        let enough = self.events.comments() + 3;
        while self.events.comments() < enough {
            self.events.next_piece()?.ok_or("the silent stream has ended")?;
        }
        self.floods_not(self.events.comments() as u128)
    }

    /// No server sends before it is time, so that a slow host changes nothing here.
    fn floods_not(&self, seen: u128) -> Result<(), Failed> {
        let elapsed = self.opened.elapsed();
        if seen > elapsed.as_millis() / self.interval.as_millis() + EXTRA {
            return Err(format!("{}: {seen} in {elapsed:?}", self.target).into());
        }
        Ok(())
    }

    fn is_an_hour(&self, ids: u64) -> bool {
        let time =
            u32::try_from(ids).map_or(Duration::MAX, |ids| self.interval.saturating_mul(ids));
        time.abs_diff(HOUR) < MEANWHILE
    }
}

fn open(
    server: &Server,
    target: &str,
    change: impl FnOnce(Request) -> Request,
) -> Result<EventStream, Failed> {
    let request = Request::new("GET", target).header("Host", server.addr().to_string());
    EventStream::open(connect(server)?, &change(request))
        .map_err(|error| format!("{target}: {error}").into())
}

/// The wall clock of one process.
struct WallClock {
    /// Its offset from the host's clock, as libfaketime reads it.
    file: PathBuf,
    preload: String,
}

impl WallClock {
    fn new(name: &str) -> Result<WallClock, Failed> {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-of-{name}"));
        let mut faketime = Command::new("faketime");
        let output = faketime.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let preload = output.ok().filter(|it| it.status.success()).map(|it| it.stdout);
        let preload = preload.ok_or("no faketime here: apt-get install faketime")?;
        let preload = String::from_utf8(preload)?.trim().to_owned();
        let clock = WallClock { file, preload };
        clock.set(Duration::ZERO)?;
        Ok(clock)
    }

    fn set(&self, ahead: Duration) -> Result<(), Failed> {
        // In one step: the process may read it at any time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("+{}\n", ahead.as_secs()))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    fn launch(&self, package: &Package) -> Result<Launch, Failed> {
        let server = package.launch(&servers::binary(package)?, "shared");
        let args = [
            format!("LD_PRELOAD={}", self.preload),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            server.binary.display().to_string(),
        ];
        let args = args.into_iter().chain(server.args).collect();
        let launch = Launch { binary: "env".into(), args, ..Launch::default() };
        Ok(launch.with_args(["--keep-alive-ms".to_owned(), KEEP_ALIVE.as_millis().to_string()]))
    }
}
