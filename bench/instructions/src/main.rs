//! How many instructions our parser takes: a guard against changes that a clock on a busy machine
//! does not show.
//!
//! ```sh
//! cargo run --release -p sse-instructions             # against instructions.txt
//! cargo run --release -p sse-instructions -- --store  # make instructions.txt anew
//! ```
//!
//! It runs itself under callgrind (`apt-get install valgrind`), which counts exactly: the numbers
//! change with the code, the compiler, and the processor, after which libraries choose their code;
//! not with what else runs on the machine. Fewer instructions than stored fail too, lest a later
//! loss hide behind an old limit.

#[path = "../../../client/tests/streams/mod.rs"]
mod streams;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use client::{Item, Parser};

use self::streams::fixtures;

/// How far from the stored number a count may be.
const TOLERANCE: f64 = 0.03;
/// The same with another compiler or processor than that of the stored numbers, where other code
/// may run.
const TOLERANCE_ELSEWHERE: f64 = 0.3;
/// The numbers, and the compiler and the processor that they hold for.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
/// `counted_round`, as callgrind calls it.
const COUNTED_ROUND: &str = "sse_instructions::counted_round";
/// The argument with which it runs itself to be counted.
const COUNTED: &str = "--counted";

fn main() -> Result<()> {
    if env::args().any(|arg| arg == COUNTED) {
        run_all();
        return Ok(());
    }
    let counts = count()?;
    let machine = machine()?;
    if env::args().any(|arg| arg == "--store") {
        let mut text = format!("# {machine}: instructions for a round of each fixture\n");
        for (name, count) in &counts {
            writeln!(text, "{count:>9} {name}")?;
        }
        return fs::write(STORED, text).with_context(|| format!("{STORED} cannot be written"));
    }
    let stored = fs::read_to_string(STORED)
        .with_context(|| format!("{STORED} cannot be read; make it with `-- --store`"))?;
    let same = stored.starts_with(&format!("# {machine}:"));
    let tolerance = if same { TOLERANCE } else { TOLERANCE_ELSEWHERE };
    check(&counts, &stored, tolerance)
}

fn check(counts: &[(String, u64)], stored: &str, tolerance: f64) -> Result<()> {
    let stored: Vec<(&str, u64)> = stored
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (count, name) = line.trim_start().split_once(' ').context("no name")?;
            Ok((name, count.parse()?))
        })
        .collect::<Result<_>>()
        .with_context(|| format!("{STORED} is damaged; make it anew with `-- --store`"))?;
    let mut wrong = 0;
    for (name, count) in counts {
        let limit = stored.iter().find(|(of, _)| of == name).map_or(0, |(_, count)| *count);
        let change = *count as f64 / limit.max(1) as f64 - 1.0;
        let verdict = if change.abs() <= tolerance { "ok" } else { "WRONG" };
        wrong += usize::from(change.abs() > tolerance);
        println!("{name:24} {count:>9} instructions, {:+.1} %: {verdict}", change * 100.0);
    }
    ensure!(
        wrong == 0 && stored.len() == counts.len(),
        "{wrong} of {} counts are more than {:.0} % off; if that is meant, make them anew with \
         `cargo run --release -p sse-instructions -- --store`",
        counts.len(),
        tolerance * 100.0,
    );
    Ok(())
}

/// The fixtures in their cuts, in the order in which they run.
fn names() -> impl Iterator<Item = String> {
    fixtures().into_iter().flat_map(|fixture| {
        fixture.cuts.iter().map(move |(cut, _)| format!("{}, {cut}", fixture.name))
    })
}

/// Runs this program under callgrind, which writes a file each time a round ends.
fn count() -> Result<Vec<(String, u64)>> {
    let folder = env::temp_dir().join(format!("sse-instructions-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(folder.join("out"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(
            ["--toggle-collect=", "--dump-after="].map(|option| format!("{option}{COUNTED_ROUND}")),
        )
        .arg(out)
        .arg(env::current_exe()?)
        .arg(COUNTED)
        .output()
        .context("valgrind cannot be started; install it: apt-get install valgrind")?;
    if !output.status.success() {
        bail!("valgrind failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut counts = Vec::new();
    for (n, name) in names().enumerate() {
        let file = folder.join(format!("out.{}", n + 1));
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{name} was not counted: no {}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = total.with_context(|| format!("{} has no totals", file.display()))?;
        counts.push((name, total.trim().parse()?));
    }
    fs::remove_dir_all(&folder)?;
    Ok(counts)
}

/// The compiler and the processor.
fn machine() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc is not in PATH")?;
    let compiler = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("Linux")?;
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    Ok(format!("{compiler} on {}", cpu.trim_start_matches([' ', '\t', ':'])))
}

/// The code that callgrind runs: for each fixture in each cut a round in which all buffers grow,
/// twice as two of them take turns, and one that counts.
fn run_all() {
    for fixture in fixtures() {
        for (_, piece_bytes) in fixture.cuts {
            let pieces: Vec<&[u8]> =
                fixture.stream.chunks(fixture.stream.len().min(*piece_bytes)).collect();
            let mut parser = Parser::new().skip_comments();
            for _ in 0..2 {
                round(&mut parser, &pieces);
            }
            counted_round(&mut parser, &pieces);
        }
    }
}

/// It has a separate name in the program, to which callgrind listens.
#[inline(never)]
fn counted_round(parser: &mut Parser, pieces: &[&[u8]]) {
    black_box(&pieces);
    round(parser, pieces);
}

fn round(parser: &mut Parser, pieces: &[&[u8]]) {
    for piece in pieces {
        let mut piece = *piece;
        while let Some(item) = parser.parse(&mut piece).expect("past no limit") {
            if let Item::Event(event) = item {
                black_box((event.event, event.data, event.last_event_id));
            }
        }
    }
}
