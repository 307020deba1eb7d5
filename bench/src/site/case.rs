//! A page for each case, and the lists of cases and rules.

use std::collections::HashSet;

use conform::report::Run;
use conform::report::html::{details, mark, mark_of, words};
use conform::{CaseResult, Coverage, Described, Rule, Scope, Side, Verdict, client, server};
use maud::{Markup, html};

use super::field::{Field, Implementation};

/// A program, and its result in a case.
type Seen<'f> = (&'f Implementation, &'f Run, &'f CaseResult);

/// The address of a case's page, from the root of the site.
pub(super) fn page(id: &str) -> String {
    format!("case/{id}.html")
}

/// The result of a program on the page of a case.
pub(super) fn anchor(run: &Run) -> String {
    run.file_stem()
}

/// Everything about a case.
pub(super) fn body(field: &Field, at: usize) -> Markup {
    let case = &field.cases[at];
    let latest = field.latest(case.category().side);
    let seen: Vec<Seen<'_>> =
        latest.iter().filter_map(|(of, run)| Some((*of, *run, run.result(case.id)?))).collect();
    html! {
        p.soft { (side_words(case)) " · " (case.category()) " · " (case.level) " · " (scope_words(case)) }
        h1 { (case.id) " " (case.slug) }
        p.claim { (case.claim) }
        (facts(field, case))
        h2 { "How it is judged" }
        p { "Sent: " (case.sends) }
        @if !case.streams.is_empty() {
            dl { @for (name, bytes) in &case.streams { dt { (name) } dd { code { (bytes) } } } }
        }
        h2 { "How to fix it" }
        p { (case.fix) }
        h2 { "Programs" }
        @if seen.is_empty() {
            p { "No result that is kept has this case: it came on " (case.since) ", after the last of them." }
        } @else {
            (programs(&seen))
        }
        (bytes("Bytes of one that fails", seen.iter().filter(|it| it.2.is_miss())))
        (bytes("Bytes of one that passes", seen.iter().filter(|it| it.2.verdict == Verdict::Pass)))
        (again(case))
        (neighbours(field, at))
    }
}

fn facts(field: &Field, case: &Described) -> Markup {
    let sets = field.sets.iter().filter(|set| set.cases.iter().any(|id| id == case.id));
    let sets: Vec<&str> = sets.map(|it| it.date.as_str()).collect();
    html! {
        dl {
            @for rule in &case.rules {
                dt { "rule " (rule.id) }
                dd { (rule.text) " (" (rule.source) ")" }
            }
            dt { "source" } dd { (case.source) }
            dt { "since" } dd { (case.since) }
            @if !sets.is_empty() {
                dt { "required by" } dd { "the set of " (sets.join(", of ")) }
            }
            @if !case.needs.is_empty() { dt { "needs" } dd { (case.needs.join(", ")) } }
            @if !case.after.is_empty() {
                dt { "rests on" }
                dd { @for id in case.after { a href={ (id) ".html" } { (id) } " " } }
            }
        }
    }
}

/// The programs with each verdict, the failures with what was seen.
fn programs(seen: &[Seen<'_>]) -> Markup {
    html! {
        @for verdict in Verdict::ALL {
            @let these: Vec<_> = seen.iter().filter(|it| it.2.verdict == verdict).collect();
            @if !these.is_empty() && !is_told(verdict) {
                p.who {
                    (mark(verdict, "")) " " b { (verdict.word()) } " "
                    (these.iter().map(|it| it.1.label()).collect::<Vec<_>>().join(", "))
                }
            }
        }
        @for (of, run, result) in seen.iter().filter(|it| is_told(it.2.verdict)) {
            details.result #(anchor(run)) open[result.is_miss()] {
                summary { (mark_of(result)) " " b { (run.label()) } " " (words(result)) }
                (details(result))
                p { a href={ "../" (of.page()) } { "all of " (of.name) } }
            }
        }
    }
}

/// A verdict of which more is said than the names.
pub(super) fn is_told(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Skip)
}

/// The shortest dialogue of these that is kept: the most readable one.
fn bytes<'s, 'f: 's>(title: &str, seen: impl Iterator<Item = &'s Seen<'f>>) -> Markup {
    let kept = seen.filter_map(|(_, run, result)| Some((run, result.dialogue.as_ref()?)));
    let shortest = kept.min_by_key(|it| it.1.len());
    html! {
        @if let Some((run, dialogue)) = shortest {
            h2 { (title) }
            p.soft {
                (run.label()) ", " (run.began.get(..10).unwrap_or(&run.began))
                ". > is what the suite sent, < what it got; both in the order of the time before them."
            }
            pre tabindex="0" { (dialogue) }
        }
    }
}

fn again(case: &Described) -> Markup {
    let (command, what) = match case.category().side {
        Side::Server => ("sse-bench conform server URL", "Your server"),
        Side::Client => ("sse-bench conform client --cmd './my-client'", "Your client"),
    };
    html! {
        h2 { (what) }
        pre tabindex="0" { (command) " --only " (case.id) }
    }
}

fn neighbours(field: &Field, at: usize) -> Markup {
    let before = at.checked_sub(1).map(|it| &field.cases[it]);
    let next = field.cases.get(at + 1);
    html! {
        p.neighbours {
            @if let Some(case) = before {
                a href={ (case.id) ".html" } { "← " (case.id) " " (case.slug) }
            }
            @if let Some(case) = next {
                a.next href={ (case.id) ".html" } { (case.id) " " (case.slug) " →" }
            }
        }
    }
}

fn side_words(case: &Described) -> &'static str {
    match case.category().side {
        Side::Server => "about servers",
        Side::Client => "about clients",
    }
}

fn scope_words(case: &Described) -> &'static str {
    match (case.category().side, case.scope) {
        (Side::Client, _) => "what a reader of events does",
        (Side::Server, Scope::Sse) => "the event stream",
        (Side::Server, Scope::Http) => "the HTTP below the stream",
    }
}

/// Every case, by category.
pub(super) fn all(field: &Field) -> Markup {
    let mut categories = Vec::new();
    for case in &field.cases {
        if categories.last() != Some(&case.category()) {
            categories.push(case.category());
        }
    }
    html! {
        h1 { "Cases" }
        p {
            "Each case is one claim that is true of every server, or client, that conforms. "
            b { "MUST" } ": a standard demands it. " b { "SHOULD" } ": a standard or practice recommends it. "
            b { "MUST*" } ": the contract of this repository demands it of the servers that serve it; of others it is a recommendation. " b { "INFO" } ": a fact."
        }
        @for category in categories {
            h2 { @match category.side { Side::Server => "Servers", Side::Client => "Clients" } ": " (category) }
            dl.cases {
                @for case in field.cases.iter().filter(|it| it.category() == category) {
                    dt {
                        a href=(page(case.id)) { (case.id) " " (case.slug) }
                        " " small { (case.level) @if case.scope == Scope::Http { ", HTTP" } }
                    }
                    dd { (case.claim) }
                }
            }
        }
    }
}

/// Every rule, and the cases that look at it.
pub(super) fn rules(field: &Field) -> Markup {
    let known: HashSet<&str> = field.cases.iter().map(|it| it.id).collect();
    html! {
        h1 { "Rules" }
        p {
            "Sentences that bind a server or a client of events, in our words, with their source: " b { "A" } ", " b { "B" } ", "
            b { "C" } " are of the HTML standard, " b { "D" } " and " b { "H" } " of HTTP and Fetch, " b { "P" }
            " of practice, " b { "K" } " of this repository's own contract. A rule without a case says why."
        }
        @for (title, rules) in [("Servers", server::RULES), ("Clients", client::RULES)] {
            h2 { (title) }
            dl.cases { @for rule in rules { (one(rule, &known)) } }
        }
    }
}

fn one(rule: &Rule, known: &HashSet<&str>) -> Markup {
    html! {
        dt { b { (rule.id) } " " small { (rule.source) } }
        dd {
            (rule.text) " "
            @match rule.coverage {
                Coverage::Cases(ids) => {
                    @for id in ids.iter().filter(|it| known.contains(**it)) {
                        a href=(page(id)) { (id) } " "
                    }
                }
                Coverage::None(reason) => { span.soft { "No case: " (reason) "." } }
            }
        }
    }
}
