//! A number that stands in several places is the same in all: titles, tables, README. Checked on the run that is kept.

use std::path::{Path, PathBuf};

use conform::report::Document;
use conform::report::table::Table;
use load::Workload;

use super::charts::findings;
use super::render::{self, name, tables};
use super::{Report, Row, headline_markdown};

/// The words of a title about the best server, and the column of the same quantity.
const TITLES: [(&str, &str); 6] = [
    (" has the lowest p99, ", "p99 ms"),
    (" has the lowest median, ", "p50 ms"),
    (" takes the least CPU for an event, ", "CPU ns/event"),
    (" spreads a message fastest, ", "skew p50 ms"),
    (" gives everyone a first event soonest, ", "first event p99 ms"),
    (" takes the least memory for a stream, ", "KiB/stream"),
];

/// The words of a title whose ranges show no best server, and the column of the same quantity.
const NO_ORDER: [(&str, &str); 5] = [
    (" ms p99; ", "p99 ms"),
    (" ms median; ", "p50 ms"),
    (" ns CPU time of the server for a delivered event; ", "CPU ns/event"),
    (" ms from the first subscriber to the last; ", "skew p50 ms"),
    (" ms first event after the request; ", "first event p99 ms"),
];

/// The multiples that a title gives a range of.
const RANGES: [(&str, &str); 2] = [
    (": CPU for an event is ", "CPU × floor [95\u{a0}%]"),
    (": median latency is ", "p50 × floor [95\u{a0}%]"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README's table, and the arguments of the command that made it.
fn spliced() -> (String, Vec<String>) {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- sse-bench report --splice README.md ").unwrap();
    let (arguments, rest) = rest.split_once(" -->\n").unwrap();
    let (text, _) = rest.split_once("<!-- /sse-bench report -->").unwrap();
    (text.trim().to_owned(), arguments.split(' ').map(str::to_owned).collect())
}

fn kept() -> Report {
    let (_, arguments) = spliced();
    let mut report = Report::load(&root().join(&arguments[0])).unwrap();
    report.summarise();
    report
}

/// The first number of a cell: its value, without its range.
fn value<'t>(table: &'t Table, row: &Row, title: &str) -> Option<&'t str> {
    let [server, encoding] = <[String; 2]>::try_from(name(row)).unwrap();
    table.cell(&[&server, &encoding], title)?.split(' ').next()
}

#[test]
fn a_title_has_the_number_of_the_table() {
    let report = kept();
    let tables: Vec<Table> = tables(&report).into_iter().skip(1).map(|it| it.1).collect();
    let rows = || report.rows.iter().filter(|it| it.twin_of.is_none() && !it.is_floor());
    let mut compared = 0;
    for finding in findings(&report) {
        for (workload, table) in report.workloads.iter().zip(&tables) {
            let words = finding.strip_prefix(&workload.name).filter(|it| it.starts_with(": "));
            let Some(words) = words else { continue };
            for (phrase, column) in TITLES {
                let Some((best, rest)) = words.split_once(phrase) else { continue };
                let best = best.trim_start_matches(": ");
                let row = rows().find(|it| it.key() == best).unwrap();
                assert_eq!(rest.split(' ').next(), value(table, row, column), "{finding}");
                compared += 1;
            }
            for (phrase, column) in NO_ORDER {
                let Some((ends, rest)) = words.split_once(phrase) else { continue };
                let lowest = rest.strip_prefix("the lowest is ").unwrap();
                let (lowest, _) = lowest.split_once(", but ").unwrap();
                let row = rows().find(|it| it.key() == lowest).unwrap();
                let low = ends.trim_start_matches(": ").split(' ').next();
                assert_eq!(low, value(table, row, column), "{finding}");
                compared += 1;
            }
            for (phrase, column) in RANGES {
                let Some(range) = words.strip_prefix(phrase) else { continue };
                let mut ends = range.split(' ').filter(|it| it.parse::<f64>().is_ok());
                let values: Vec<&str> = rows().filter_map(|it| value(table, it, column)).collect();
                let number = |it: &&&str| it.parse::<f64>().unwrap_or(f64::NAN);
                let order = |a: &&&str, b: &&&str| number(a).total_cmp(&number(b));
                let least = values.iter().filter(|it| !number(it).is_nan()).min_by(order);
                let most = values.iter().filter(|it| !number(it).is_nan()).max_by(order);
                assert_eq!(
                    (ends.next(), ends.next()),
                    (least.copied(), most.copied()),
                    "{finding}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 10, "{compared} titles were compared");
}

/// Every number of a cell: value, range, count.
fn numbers(text: &str) -> Vec<&str> {
    let parts = text.split(|it: char| !it.is_ascii_digit() && it != '.');
    parts.map(|it| it.trim_end_matches('.')).filter(|it| !it.is_empty()).collect()
}

/// A finding stands above tables, in the terminal and on paper: a number that is in none of them looks wrong.
#[test]
fn a_finding_has_no_number_that_its_table_has_not() {
    let results = root().join("bench/results");
    let folders = std::fs::read_dir(results).unwrap().map(|it| it.unwrap().path());
    let reports = folders.filter(|it| it.join("report.json").exists());
    let mut compared = 0;
    for folder in reports {
        let mut report = Report::load(&folder).unwrap();
        report.summarise();
        let tables: Vec<String> =
            tables(&report).into_iter().skip(1).map(|it| it.1.markdown()).collect();
        // It says itself that it is of one round.
        for finding in findings(&report).iter().filter(|it| !it.contains(", last round: ")) {
            let (subject, words) = match finding.split_once(": at ") {
                Some((_, words)) => {
                    let (at, words) = words.split_once(", ").unwrap();
                    let name = match at.split_once(' ') {
                        Some((bytes, "bytes")) => format!("{}{bytes}", Workload::SIZED),
                        Some((count, _)) => format!("broadcast-{count}"),
                        None => format!("broadcast-{at}"),
                    };
                    (name, words)
                }
                None => {
                    let (workload, words) = finding.split_once(": ").unwrap();
                    (workload.to_owned(), words)
                }
            };
            let at = report.workloads.iter().position(|it| it.name == subject).unwrap();
            let of_table = numbers(&tables[at]);
            // How many ranges overlap is a count of the rows.
            let words = words.split("; ").next().unwrap_or_default().replace("p99", "");
            for number in numbers(&words) {
                assert!(
                    of_table.contains(&number),
                    "{number} of {finding:?} is not in\n{}",
                    tables[at]
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "{compared} numbers were compared");
}

#[test]
fn readme_has_the_numbers_of_the_report_and_of_the_verdicts() {
    let (text, arguments) = spliced();
    let report = kept();
    let (_, summary) = render::summary(&report);
    let mut compared = 0;
    for line in text.lines().filter(|it| it.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let columns =
            [(2, "CPU × floor [95\u{a0}%]"), (3, "p99 × floor [95\u{a0}%]"), (4, "KiB/stream")];
        for (at, title) in columns {
            let Some(cell) = summary.cell(&cells[..2], title) else { continue };
            assert_eq!(cells[at], cell, "{line}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} cells were compared");
    // The whole of it is as the command makes it.
    let folder = Path::new(&arguments[2]).parent().unwrap();
    let files = std::fs::read_dir(root().join(folder)).unwrap().map(|it| it.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    let verdicts = Document::read(&files).unwrap().runs;
    assert_eq!(text, headline_markdown(&report, &verdicts).trim());
}
