//! `sse-bench conform server` and `sse-bench list cases`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::run::check_each;
use super::test_binary::conformance_launch;
use super::{CaseResult, Deviations, SUITE_VERSION, Selection, Summary, Target, Verdict, cases};
use crate::fleet::{self, Package, Server};

/// Everything as expected.
const EXIT_EXPECTED: u8 = 0;
/// A miss that is not listed, a listed case that passes, a server that stopped answering.
const EXIT_UNEXPECTED: u8 = 1;
/// Nothing was checked: unreachable, unknown name, bad arguments.
const EXIT_COULD_NOT_RUN: u8 = 2;
/// The harness itself failed.
const EXIT_HARNESS: u8 = 3;

/// Which server to check, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// The URL of a stream, the name of a server of this workspace, or `all` of them
    #[arg(value_name = "URL|NAME|all")]
    pub server: String,
    /// Only these cases: an id (S9.10), a category (S3) or a slug
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Not these cases
    #[arg(long, value_name = "CASES", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// A missed recommendation (SHOULD) is an unexpected result, too
    #[arg(long)]
    pub strict: bool,
    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Only this encoding of a server of this workspace
    #[arg(long, value_name = "shared|native")]
    pub encoding: Option<String>,
    /// Check the release build of a server of this workspace
    #[arg(long)]
    pub release: bool,
    /// How long to wait for each answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(50..=600_000))]
    pub patience_ms: u64,
    /// Show every skip, and the bytes of the dialogue of known deviations too
    #[arg(long)]
    pub verbose: bool,
}

/// How to list the cases.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Write the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// The results for one server, as written to `--json`.
#[derive(Debug, Serialize)]
struct Report {
    suite_version: u32,
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    took_ms: u64,
    summary: Summary,
    results: Vec<CaseResult>,
}

/// Checks one server, or all of the workspace, and prints a report.
///
/// # Errors
/// Only for output that cannot be written; what cannot be checked is exit code 2.
pub fn run_server(args: &ServerArgs) -> Result<ExitCode> {
    let could_not_run = |words: &str| {
        eprintln!("{words}");
        Ok(ExitCode::from(EXIT_COULD_NOT_RUN))
    };
    let selection = match Selection::new(&args.only, &args.skip) {
        Ok(selection) => selection,
        Err(words) => return could_not_run(&words),
    };
    let reports = if args.server.contains("://") {
        check_url(args, &selection)
    } else {
        check_packages(args, &selection)
    };
    let reports = match reports {
        Ok(reports) => reports,
        Err(error) => return could_not_run(&format!("{error:#}")),
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}; choose another file", path.display()))?;
    }
    let is_error = |report: &Report| report.results.iter().any(|it| it.verdict == Verdict::Error);
    Ok(ExitCode::from(if reports.iter().any(is_error) {
        EXIT_HARNESS
    } else if reports.iter().any(|report| report.summary.unexpected > 0) {
        EXIT_UNEXPECTED
    } else {
        EXIT_EXPECTED
    }))
}

/// Prints the catalogue: id, slug, level, needs, claim.
///
/// # Errors
/// When stdout cannot be written.
pub fn list_cases(args: &ListArgs) -> Result<()> {
    use std::io::Write as _;
    #[derive(Serialize)]
    struct Line {
        id: &'static str,
        slug: &'static str,
        level: super::Level,
        source: &'static str,
        needs: &'static [super::Need],
        claim: &'static str,
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let lines: Vec<_> = cases()
            .map(|case| Line {
                id: case.id,
                slug: case.slug,
                level: case.level,
                source: case.source,
                needs: case.needs,
                claim: case.claim,
            })
            .collect();
        let catalogue = serde_json::json!({ "suite_version": SUITE_VERSION, "cases": lines });
        writeln!(out, "{}", serde_json::to_string_pretty(&catalogue)?)?;
        return Ok(());
    }
    for case in cases() {
        writeln!(out, "{:<26} {:<6} {}", case.name(), case.level, case.claim)?;
    }
    Ok(())
}

/// A miss as text: the claim and its source, expected, actual, the dialogue.
pub(super) fn failure_text(result: &CaseResult) -> String {
    let mut text = format!("{} ({}, {})\n", result.claim, result.level, result.source);
    if result.is_stale() {
        text.push_str("  is listed in deviations.toml and passes: take the entry out\n");
        return text;
    }
    if let Some(expected) = &result.expected {
        let _ = writeln!(text, "  expected: {expected}");
    }
    if let Some(actual) = &result.actual {
        let _ = writeln!(text, "  actual:   {actual}");
    }
    if let Some(dialogue) = &result.dialogue {
        for line in dialogue.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

fn check_url(args: &ServerArgs, selection: &Selection) -> Result<Vec<Report>> {
    let patience = Duration::from_millis(args.patience_ms);
    let target = Target::probe(&args.server, patience).map_err(anyhow::Error::msg)?;
    let offers: Vec<_> = target.capabilities().iter().map(ToString::to_string).collect();
    let offers = if offers.is_empty() { "a stream".to_owned() } else { offers.join(", ") };
    println!("{}: offers {offers}", args.server);
    Ok(vec![check(args, selection, &args.server, None, &target, &Deviations::default())])
}

fn check_packages(args: &ServerArgs, selection: &Selection) -> Result<Vec<Report>> {
    let packages = fleet::discover()?;
    let chosen: Vec<&Package> = match args.server.as_str() {
        "all" => packages.iter().collect(),
        name => vec![
            fleet::find(&packages, name).context("neither a URL (http://…) nor a known name")?,
        ],
    };
    let mut reports = Vec::new();
    for package in chosen {
        let encodings = package.encodings.iter();
        let encodings: Vec<_> = encodings
            .filter(|it| args.encoding.as_ref().is_none_or(|wanted| wanted == *it))
            .collect();
        if encodings.is_empty() && args.server != "all" {
            let offered = package.encodings.join(", ");
            anyhow::bail!("{} has no such encoding; choose one of: {offered}", package.name);
        }
        let deviations = Deviations::read(&package.folder).map_err(anyhow::Error::msg)?;
        eprintln!("building {}", package.name);
        let binary = fleet::build(package, args.release)?;
        for encoding in encodings {
            reports.push(check_package(args, selection, package, &binary, encoding, &deviations)?);
        }
    }
    if reports.is_empty() {
        anyhow::bail!("no server has the encoding {:?}", args.encoding.as_deref().unwrap_or(""));
    }
    Ok(reports)
}

fn check_package(
    args: &ServerArgs,
    selection: &Selection,
    package: &Package,
    binary: &Path,
    encoding: &str,
    deviations: &Deviations,
) -> Result<Report> {
    let launch = conformance_launch(&package.launch(binary, encoding));
    let server = Server::start(&launch)?;
    let target = Target::contract(server.addr(), Some(launch));
    let target = target.with_patience(Duration::from_millis(args.patience_ms));
    let deviations = deviations.for_encoding(encoding);
    let name = &package.name;
    let report = check(args, selection, name, Some(encoding), &target, &deviations);
    // How it ends is judged by category 11; here it only has to go away.
    let _ = server.stop();
    Ok(report)
}

fn check(
    args: &ServerArgs,
    selection: &Selection,
    server: &str,
    encoding: Option<&str>,
    target: &Target,
    deviations: &Deviations,
) -> Report {
    let start = Instant::now();
    let results = check_each(target, selection, deviations, &|result| print_result(args, result));
    let took = start.elapsed();
    if !args.verbose {
        print_skips(&results);
    }
    let summary = Summary::of(&results, args.strict);
    let encoding_words = encoding.map(|it| format!(" ({it})")).unwrap_or_default();
    println!("{server}{encoding_words}: {}, {:.1} s", summary_words(&summary), took.as_secs_f64());
    Report {
        suite_version: SUITE_VERSION,
        server: server.to_owned(),
        encoding: encoding.map(str::to_owned),
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        summary,
        results,
    }
}

fn print_result(args: &ServerArgs, result: &CaseResult) {
    let is_known = result.is_miss() && result.deviation.is_some();
    let is_loud = result.is_unexpected(args.strict) || (result.is_miss() && !is_known);
    // What a server does not offer is said once, at the end.
    if result.verdict == Verdict::Skip && !args.verbose {
        return;
    }
    let word = if is_known { "KNOWN" } else { result.verdict.word() };
    let mut line = format!("  {word:<10} {}", result.name());
    let remark = if is_known { &result.deviation } else { &result.actual };
    if let Some(remark) = remark.as_deref().filter(|_| !is_loud) {
        let _ = write!(line, "  {remark}");
    }
    if is_loud || (args.verbose && result.is_miss()) {
        for text in failure_text(result).lines() {
            let _ = write!(line, "\n    {text}");
        }
    }
    println!("{line}");
}

/// The reasons for skips with their numbers: most cases of a foreign server share one.
fn print_skips(results: &[CaseResult]) {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results.iter().filter(|result| result.verdict == Verdict::Skip) {
        *reasons.entry(result.actual.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("  SKIP       {}: {reason}", counted(count, "case", "cases"));
    }
}

fn summary_words(summary: &Summary) -> String {
    let Summary { passed, non_strict, failed, deviations, info, not_judged, unexpected } = *summary;
    let mut words = format!("{passed} passed, {failed} failed");
    if non_strict > 0 {
        let missed = counted(non_strict, "recommendation", "recommendations");
        let _ = write!(words, ", {missed} missed");
    }
    if deviations > 0 {
        let _ = write!(words, " ({deviations} of these known)");
    }
    if info > 0 {
        let _ = write!(words, ", {}", counted(info, "fact", "facts"));
    }
    if not_judged > 0 {
        let _ = write!(words, ", {not_judged} not judged");
    }
    if unexpected > 0 {
        let _ =
            write!(words, "; {}", counted(unexpected, "unexpected result", "unexpected results"));
    }
    words
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
