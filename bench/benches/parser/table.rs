//! Prints what the benchmark `parser` measured last, as the table in `client/README.md` and `client/src/docs/parser.md`.
//!
//! ```sh
//! cargo bench -p sse-bench --bench parser
//! cargo run --release -p sse-bench --example parser_table
//! ```
//!
//! A number is the fastest of the samples, for one block of the stream: others who use the machine
//! can only add to it. How much they added stands below the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bench::report::cpu;
use serde::Deserialize;

#[path = "../../../client/tests/streams/mod.rs"]
mod streams;

const PARSERS: [&str; 5] = ["sse-client", "sse-core", "sse-stream", "sseer", "eventsource-stream"];

/// It takes more than ten seconds a round; the shorter line of the same shape is measured.
const NOT_MEASURED: (&str, &str) = ("256 KiB line", "eventsource-stream");

/// The samples as criterion writes them: how often it ran, and the nanoseconds of all runs.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    times: Vec<f64>,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    value_str: Option<String>,
    function_id: Option<String>,
}

/// The fastest sample and the median, in nanoseconds for a round.
type Measured = BTreeMap<(String, String), (f64, f64)>;

fn main() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let mut measured = Measured::new();
    let results = target.join("criterion");
    read(&results, &mut measured).with_context(|| {
        format!("{} cannot be read; run the benchmark first", results.display())
    })?;
    print(&measured)
}

fn read(folder: &Path, measured: &mut Measured) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if !path.ends_with("new") {
            read(&path, measured)?;
            continue;
        }
        let Ok(samples) = fs::read(path.join("sample.json")) else { continue };
        let samples: Samples = serde_json::from_slice(&samples)?;
        let benchmark: Benchmark = serde_json::from_slice(&fs::read(path.join("benchmark.json"))?)?;
        let parser = benchmark.value_str.or(benchmark.function_id).unwrap_or_default();
        let mut times: Vec<f64> =
            samples.times.iter().zip(&samples.iters).map(|(time, runs)| time / runs).collect();
        times.sort_by(f64::total_cmp);
        if let (Some(fastest), Some(median)) = (times.first(), times.get(times.len() / 2)) {
            measured.insert((benchmark.group_id, parser), (*fastest, *median));
        }
    }
    Ok(())
}

fn print(measured: &Measured) -> Result<()> {
    println!("| ns for a block | {} | the fastest other / ours |", PARSERS.join(" | "));
    println!("| --- |{}", " ---: |".repeat(PARSERS.len() + 1));
    let mut noise = Vec::new();
    for fixture in streams::fixtures() {
        for (cut, _) in fixture.cuts {
            let group = format!("parser/{}/{cut}", fixture.name);
            let mut row = Vec::new();
            for parser in PARSERS {
                let measured = measured.get(&(group.clone(), parser.to_owned()));
                if measured.is_none() && (fixture.name, parser) == NOT_MEASURED {
                    row.push(f64::INFINITY);
                    continue;
                }
                let (fastest, median) = measured
                    .with_context(|| format!("{group}/{parser} is missing; run the benchmark"))?;
                row.push(fastest / fixture.blocks as f64);
                noise.push(median / fastest);
            }
            let other = row[1..].iter().copied().fold(f64::INFINITY, f64::min);
            let cells: Vec<String> = row.iter().map(|ns| three_digits(*ns)).collect();
            let ratio = other / row[0];
            println!("| {}, {cut} | {} | {ratio:.2} |", fixture.name, cells.join(" | "));
        }
    }
    noise.sort_by(f64::total_cmp);
    let percent = |share: f64| (share - 1.0) * 100.0;
    println!();
    println!(
        "{}, {} cores. Noise: the median sample took {:.0} % more than the fastest in half of the \
         measurements, {:.0} % in the worst.",
        Some(cpu()).filter(|name| !name.is_empty()).unwrap_or("An unknown processor".into()),
        std::thread::available_parallelism()?,
        percent(noise[noise.len() / 2]),
        percent(noise[noise.len() - 1]),
    );
    Ok(())
}

fn three_digits(ns: f64) -> String {
    if ns.is_infinite() {
        return "–".into();
    }
    let decimals = if ns < 10.0 { 2 } else { usize::from(ns < 100.0) };
    format!("{ns:.decimals$}")
}
