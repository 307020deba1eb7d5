//! The start page.

use conform::report::Run;
use conform::report::table::size_class;
use conform::{CaseResult, Requirements, Scope, Side, Verdict};
use maud::{Markup, html};

use super::badge;
use super::case;
use super::field::{Field, Implementation};
use super::picture::picture;
use crate::report::front_charts;

/// Links to failed cases in a row; the page of the program has them all.
const MISSES: usize = 8;

/// The page that people see first.
pub(super) fn body(field: &Field, repository: Option<&str>) -> Markup {
    let (servers, clients) = (field.latest(Side::Server), field.latest(Side::Client));
    html! {
        h1 { "Server-Sent Events, judged and measured" }
        p.claim {
            (servers.len()) " programs that serve events and " (clients.len()) " that read them, held against "
            (field.cases.len()) " cases that follow from the HTML standard, from HTTP and from practice."
        }
        p {
            "A server of this repository is several programs: " b { "native" } " uses the framework's own event type, "
            b { "smallest" } " is what the framework's documentation shows, " b { "shared" } " has one encoder for all. A \
             failure is of the program as it was judged, in the version beside it, and leads to the rule, the bytes, and a way \
             to see it again."
        }
        div.pictures {
            (pictures(field, "What do servers of events get wrong?", "servers.html", &servers))
            (pictures(field, "What do clients get wrong?", "clients.html", &clients))
        }
        p.soft.key {
            svg viewBox="0 0 15 15" aria-hidden="true" { rect.fail width="15" height="15" {} } " failed "
            svg viewBox="0 0 15 15" aria-hidden="true" { rect.nonstrict width="15" height="15" rx="7.5" {} }
            " a recommendation failed "
            svg viewBox="0 0 15 15" aria-hidden="true" { rect.pass width="15" height="15" {} } " passed "
            svg viewBox="0 0 15 15" aria-hidden="true" { rect.skip y="7" width="15" height="1.5" {} } " not judged"
        }
        h2 #conform { "Who conforms?" }
        (standings(field, "Servers", &servers))
        (standings(field, "Clients", &clients))
        @if let Some(set) = field.sets.last() {
            p.soft {
                a href="sets.html" { "Sets of requirements" } " are frozen: a case that comes later is in the next one. The newest is of "
                (set.date) ". A set has the cases that a standard demands (MUST), none of MUST*. A server passes it where none of \
                 those about its stream failed and each that it can be asked was judged; those of the HTTP below do not \
                 count there. A client passes it where the same is true of all about clients."
            }
        }
        (not_judged(field))
        (costs(field))
        (yours(repository))
    }
}

fn pictures(field: &Field, title: &str, matrix: &str, runs: &[(&Implementation, &Run)]) -> Markup {
    let describes = format!("{title} The cases that most of {} programs fail", runs.len());
    html! {
        @if let Some(picture) = picture(&field.cases, runs, &describes) {
            figure {
                h2 { (title) }
                (picture)
                figcaption.soft {
                    "A square for each program, in the order of the " a href=(matrix) { "matrix" } "."
                }
            }
        }
    }
}

/// A row for each program: does it conform, and where not?
fn standings(field: &Field, title: &str, runs: &[(&Implementation, &Run)]) -> Markup {
    let side = runs.first().map(|it| it.0.side);
    let columns: &[&str] = match side {
        Some(Side::Client) => &["passed", "failed", "recommendations", "not offered"],
        _ => &["passed", "stream failed", "HTTP failed", "recommendations", "not offered"],
    };
    html! {
        @if !runs.is_empty() {
            h3 { (title) }
            div.table { table class={ "sortable " (size_class(columns.len() + 3)) } {
                thead { tr {
                    th scope="col" { "program" }
                    @for word in columns { th.n scope="col" { (word) } }
                    th scope="col" { "passes the set of" }
                    th scope="col" { "failed cases" }
                } }
                tbody { @for (of, run) in runs {
                    tr {
                        th scope="row" {
                            a href={ (of.page()) "#" (run.file_stem()) } { (run.label()) } " " small { (of.stack) }
                        }
                        @for (number, word) in counts(field, run).iter().zip(columns) {
                            td class={ "n" @if *number == 0 { " zero" } } data-title=(word) { (number) }
                        }
                        td data-title="passes the set of" { (passed(run, &field.sets)) }
                        td.long data-title="failed cases" { (misses(run)) }
                    }
                } }
            } }
        }
    }
}

/// The numbers of a row, in the order of its columns.
fn counts(field: &Field, run: &Run) -> Vec<usize> {
    let it = &run.summary;
    if run.side() == Side::Client {
        return vec![it.passed, it.failed, it.non_strict, it.skipped];
    }
    let scope = |result: &CaseResult| {
        let case = field.cases.iter().find(|case| case.id == result.id);
        case.map(|it| it.scope).or(result.scope)
    };
    let of = |wanted: Scope| {
        let failed = run.results.iter().filter(|it| it.verdict == Verdict::Fail);
        failed.filter(|it| scope(it).unwrap_or(Scope::Sse) == wanted).count()
    };
    vec![it.passed, of(Scope::Sse), of(Scope::Http), it.non_strict, it.skipped]
}

fn passed(run: &Run, sets: &[Requirements]) -> String {
    badge::newest_passed(run, sets).map_or_else(|| "–".to_owned(), |it| it.date.clone())
}

fn misses(run: &Run) -> Markup {
    let failed: Vec<_> = run.results.iter().filter(|it| it.verdict == Verdict::Fail).collect();
    html! {
        @for result in failed.iter().take(MISSES) {
            a href=(case::page(&result.id)) title=(result.slug) { (result.id) } " "
        }
        @if failed.len() > MISSES { "and " (failed.len() - MISSES) " more" }
        @if failed.is_empty() { "–" }
    }
}

fn not_judged(field: &Field) -> Markup {
    let waiting: Vec<_> = field.implementations.iter().filter(|it| it.runs.is_empty()).collect();
    html! {
        @if !waiting.is_empty() {
            p {
                "Their programs are here, and no verdict of them is kept yet: "
                @for (number, it) in waiting.iter().enumerate() {
                    @if number > 0 { ", " }
                    a href=(it.page()) { (it.name) }
                }
                "."
            }
        }
    }
}

fn costs(field: &Field) -> Markup {
    html! {
        @if let Some(report) = field.figures() {
            h2 #costs { "What costs what?" }
            div.charts {
                @for (title, drawing, caption) in front_charts(report) {
                    figure { h3 { (title) } (drawing) figcaption.soft { (caption) } }
                }
            }
            p {
                a href="figures.html" { "Every figure" } " of the run of " (report.began.get(..10).unwrap_or_default())
                ", with its intervals and its limits; " a href="methodology.html" { "how it is measured" }
                ". One machine, over loopback: figures of two reports do not compare; of two reports of one host, multiples of the \
                 floor do."
            }
        }
    }
}

fn yours(repository: Option<&str>) -> Markup {
    // `https://HOST/OWNER/NAME/blob/BRANCH/` shows files of `https://HOST/OWNER/NAME`.
    let address = repository.and_then(|it| it.split("/blob/").next()).unwrap_or("ADDRESS");
    html! {
        h2 #yours { "Try yours" }
        p { "Any server or client, in any language, over http or https, by GET or POST:" }
        pre tabindex="0" {
            "cargo install --locked --git " (address) " sse-bench\n"
            "sse-bench conform server http://127.0.0.1:3000/events\n"
            "sse-bench conform client --cmd './my-client'\n"
            "sse-bench load http://127.0.0.1:3000/events\n"
        }
        p {
            "It takes one to two minutes, more where the host is busy or the server sends no head before its first event. It says of each failure what was sent, what came back, which rule that breaks, "
            "and how to fix it. It treats other people's servers with care: nothing hostile, and few requests."
        }
    }
}

/// The frozen sets, and how each program stands to them.
pub(super) fn sets(field: &Field) -> Markup {
    html! {
        h1 { "Sets of requirements" }
        p {
            "A set is the list of the MUST cases of a day, without MUST*, and never changes. A case that is added later is in a later set, so "
            "that a badge that says \"passes 2026-11-20\" stays true. The case of a set has to be judged, or not be offered: "
            "a server that is known by its URL alone is asked less than one whose texts the suite may choose. Of a server the "
            "MUSTs of its stream count here; those of the HTTP below it have a line of their own on its page."
        }
        @for side in [Side::Server, Side::Client] {
            @let runs = field.latest(side);
            h2 { @match side { Side::Server => "Servers, their streams", Side::Client => "Clients" } }
            div.table { table class={ "sortable " (size_class(field.sets.len() + 1)) } {
                thead { tr {
                    th scope="col" { "program" }
                    @for set in &field.sets { th scope="col" { (set.date) } }
                } }
                tbody { @for (of, run) in &runs { tr {
                    th scope="row" { a href={ (of.page()) "#" (run.file_stem()) } { (run.label()) } }
                    @for set in &field.sets {
                        td data-title=(set.date) { (badge::words(&set.standing(run, badge::scope_of(run)))) }
                    }
                } } }
            } }
        }
        @for set in field.sets.iter().rev() {
            h2 { "The set of " (set.date) ": " (set.cases.len()) " cases" }
            p.all {
                @for id in &set.cases { a href=(case::page(id)) { (id) } " " }
            }
        }
    }
}
