//! A page for each server and client: verdicts, figures, program, history, badges.

use conform::report::Run;
use conform::report::html::{details, mark, mark_of, words};
use conform::report::table::Table;
use conform::{CaseResult, Scope, Side, Verdict};
use maud::{Markup, html};

use super::badge::{self, Badge};
use super::case;
use super::field::{Field, Implementation};
use crate::report::cost_rows;

/// The address of a badge, from the root of the site; of one set with its date.
pub(super) fn badge_file(run: &Run, side: Side, date: Option<&str>) -> String {
    let side = super::field::side_word(side);
    let date = date.map_or_else(String::new, |it| format!("-{it}"));
    format!("badge/{side}-{}{date}.json", run.file_stem())
}

/// Everything about a server or client.
pub(super) fn body(field: &Field, it: &Implementation) -> Markup {
    let latest = it.latest();
    html! {
        p.soft {
            @match it.side { Side::Server => "server", Side::Client => "client" }
            @if let Some(language) = &it.language { " · " (language) }
            @if let Some(home) = it.home.as_ref().filter(|it| it.starts_with("https://")) {
                " · " a href=(home) { (home.trim_start_matches("https://")) }
            }
        }
        h1 { (it.name) }
        p.claim { (it.stack) }
        @if latest.is_empty() {
            p {
                "Not judged in a result that is kept: it is here to be run. "
                @if !it.program.is_empty() { "Its program stands below." }
            }
        }
        @for run in &latest { (verdicts(field, it, run)) }
        (figures(field, it))
        (history(it))
        (program(it))
    }
}

/// The newest verdicts of one program.
fn verdicts(field: &Field, it: &Implementation, run: &Run) -> Markup {
    let summary = &run.summary;
    html! {
        section #(run.file_stem()) {
            h2 { "Verdicts: " (run.label()) }
            p {
                (summary.passed) " passed, " (summary.failed) " failed, "
                (summary.non_strict) (if summary.non_strict == 1 { " recommendation" } else { " recommendations" }) " failed, " (summary.skipped) " not offered, "
                (summary.info) " facts. "
                span.soft { (day(run)) ", suite " (run.suite_version) @if let Some(it) = &run.framework { ", " (it) } }
            }
            (sets(field, it, run))
            @let misses: Vec<_> = run.results.iter().filter(|it| it.is_miss()).collect();
            @for result in &misses { (miss(field, result)) }
            (others(run))
        }
    }
}

/// How it stands to each set of requirements, and its badges.
fn sets(field: &Field, it: &Implementation, run: &Run) -> Markup {
    let badge = Badge::of(run, &field.sets);
    html! {
        dl {
            @for set in &field.sets {
                dt { "set of " (set.date) }
                dd {
                    @if it.side == Side::Server {
                        "the stream " (badge::words(&set.standing(run, Some(Scope::Sse))))
                        "; the HTTP below it " (badge::words(&set.standing(run, Some(Scope::Http))))
                    } @else {
                        (badge::words(&set.standing(run, None)))
                    }
                    " (" a href={ "../" (badge_file(run, it.side, Some(&set.date))) } { "badge" } ")"
                }
            }
            @if let Some(badge) = badge {
                dt { "badge" }
                dd {
                    span.badge { (badge.label()) " | " (badge.message) } " "
                    a href={ "../" (badge_file(run, it.side, None)) } { "JSON" }
                }
            }
        }
    }
}

fn miss(field: &Field, result: &CaseResult) -> Markup {
    let is_there = field.cases.iter().any(|it| it.id == result.id);
    html! {
        details.result {
            summary { (mark_of(result)) " " b { (result.id) " " (result.slug) } " " (words(result)) " " (result.claim) }
            (details(result))
            @if is_there { p { a href={ "../" (case::page(&result.id)) } { "the case, with bytes and other programs" } } }
        }
    }
}

/// The ids of all other results by verdict; their letters are in the matrix.
fn others(run: &Run) -> Markup {
    let is_other = |it: &&CaseResult| !it.is_miss();
    let ids = |verdict: Verdict| -> Vec<&str> {
        let these = run.results.iter().filter(is_other).filter(|it| it.verdict == verdict);
        these.map(|it| it.id.as_str()).collect()
    };
    html! {
        details {
            summary { "The other cases" }
            @for verdict in Verdict::ALL {
                @let ids = ids(verdict);
                @if !ids.is_empty() { p.who { (mark(verdict, "")) " " (ids.join(", ")) } }
            }
        }
    }
}

/// Its cost in each report.
fn figures(field: &Field, it: &Implementation) -> Markup {
    let header = [
        "measured",
        "host",
        "encoding",
        "CPU ns/event",
        "CPU × floor",
        "p99 × floor",
        "KiB a stream",
    ];
    let mut table = Table::new(3, header);
    let mut is_any = false;
    for (_, report) in field.reports.iter().rev() {
        let date = report.began.get(..10).unwrap_or_default();
        for (encoding, cells) in cost_rows(report, &it.stem) {
            is_any = true;
            let lead = vec![date.to_owned(), report.environment.host(), encoding];
            match cells {
                Ok(cells) => table.row(lead.into_iter().chain(cells).collect()),
                Err(fault) => table.error(lead, &fault),
            }
        }
    }
    html! {
        @if is_any {
            h2 { "Cost" }
            (table.html())
            p.soft {
                "A broadcast to a thousand streams, and memory of an idle stream; × is the multiple of the floor in the \
                 same rounds, with its interval. " a href="../figures.html" { "Every figure of the newest run" }
            }
        }
    }
}

/// Every run that is kept.
fn history(it: &Implementation) -> Markup {
    let header = [
        "judged",
        "program",
        "suite",
        "passed",
        "failed",
        "recommendations",
        "not offered",
        "not judged",
    ];
    let mut table = Table::new(2, header);
    for run in &it.runs {
        let sum = &run.summary;
        let numbers = [sum.passed, sum.failed, sum.non_strict, sum.skipped, sum.not_judged];
        let mut cells = vec![day(run).to_owned(), run.label(), run.suite_version.to_string()];
        cells.extend(numbers.map(|it| it.to_string()));
        table.row(cells);
    }
    html! {
        @if !it.runs.is_empty() {
            h2 { "History" }
            (table.html())
            p.soft { "Numbers of different suites do not compare: cases were added or are judged otherwise." }
        }
    }
}

fn program(it: &Implementation) -> Markup {
    html! {
        @if !it.program.is_empty() {
            h2 { "Program" }
            @for (path, text) in &it.program {
                details {
                    summary { code { (path) } " " span.soft { (text.lines().count()) " lines" } }
                    pre.program tabindex="0" { (text) }
                }
            }
        }
    }
}

/// The day of a run.
pub(super) fn day(run: &Run) -> &str {
    run.began.get(..10).unwrap_or(&run.began)
}
