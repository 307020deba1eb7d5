//! Readers that do not read: the kernel holds little for each.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use wire::EventStream;

use super::kernel_memory::Memory;
use super::target::broken;
use super::{Failure, Figures, Outcome, Size, Target, kernel_memory};

/// Kernel memory of the server's end of a connection, as SECURITY.md promises.
const LIMIT_KIB: u64 = 256;

/// The receive buffer of a reader: its system takes next to nothing.
const RECEIVE_BUFFER: usize = 4096;

/// Streams without a pause: large events, small ones, tiny ones.
const TARGETS: [&str; 3] =
    ["/ticks?interval_ms=0&pad=65536", "/ticks?interval_ms=0&pad=1000", "/ticks?interval_ms=0"];

/// All stalls have begun when this many looks in a row, with an answer between two, saw the same.
const SAME_LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn promise(size: &Size) -> String {
    format!(
        "{} readers do not read: {LIMIT_KIB} KiB of the kernel's memory each, at most",
        size.stalled
    )
}

pub(super) fn run(target: &Target) -> Outcome {
    let count = target.size.stalled;
    // They stay until they have been looked at.
    let running = target.start(&["--stall-timeout-ms", "120000"])?;
    let before = running.usage()?;
    let mut readers = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for path in TARGETS.iter().cycle().take(count) {
        let connection = running.connect_narrow(RECEIVE_BUFFER)?;
        ports.push(connection.socket().local_addr().map_err(|error| unknown(&error))?.port());
        readers.push(EventStream::open(connection, &running.request("GET", path))?);
    }
    let deadline = Instant::now() + target.patience;
    let (mut last, mut same, mut incomplete) = (Vec::new(), 0, 0);
    let held = loop {
        let all = kernel_memory::of_connections(running.server.addr())
            .map_err(|error| unknown(&error))?;
        let held: Vec<_> = ports.iter().filter_map(|port| all.get(port)).copied().collect();
        // A list that the kernel makes in parts may lack one that was there all the time.
        incomplete = if held.len() < count { incomplete + 1 } else { 0 };
        if incomplete >= SAME_LOOKS {
            let gone = count - held.len();
            return Err(broken(format!("{gone} of {count} were cut before the stall timeout")));
        }
        let now: Vec<u64> = held.iter().map(kib).collect();
        same = if now == last { same + 1 } else { 0 };
        if same >= SAME_LOOKS || Instant::now() > deadline {
            break held;
        }
        last = now;
        running.is_healthy()?;
        thread::sleep(LOOK);
    };
    let most = held.iter().map(kib).max().unwrap_or(0);
    if most > LIMIT_KIB {
        return Err(broken(format!("a reader holds {most} KiB of the kernel's memory")));
    }
    if same < SAME_LOOKS {
        return Err(Failure::NotJudged("the readers did not stall in time".to_owned()));
    }
    if held.iter().any(|it| it.queued == 0) {
        let words =
            "nothing waits for some of the readers: the server sent too little to stall them";
        return Err(Failure::NotJudged(words.to_owned()));
    }
    let grown = running.usage()?.rss_bytes.saturating_sub(before.rss_bytes);
    let process_kib = grown as f64 / 1024.0 / count as f64;
    Ok(Figures {
        headline: format!("{most} KiB a reader"),
        all: json!({
            "readers": count,
            "most_kernel_kib": most,
            "mean_kernel_kib": held.iter().map(kib).sum::<u64>() / count as u64,
            "process_kib_per_reader": process_kib,
        }),
    })
}

fn kib(memory: &Memory) -> u64 {
    memory.all / 1024
}

fn unknown(error: &std::io::Error) -> Failure {
    Failure::NotJudged(format!("the kernel does not say how much it holds: {error}"))
}
