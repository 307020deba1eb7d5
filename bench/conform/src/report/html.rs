//! The matrix as one HTML file: no request to anywhere, light and dark, narrow and printed; without its script
//! it is whole, with it it can be searched. Its parts are those of the site, too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::{Document, Run, level_word, subjects, table};
use crate::{CaseResult, Verdict};

const STYLE: &str = include_str!("matrix.css");

/// Searches the matrix, and hides rows that do not differ.
pub const SCRIPT: &str = include_str!("matrix.js");

/// The style of the parts of this module, and of tables.
pub fn style() -> String {
    format!("{STYLE}{}", table::style())
}

/// Where the links of a matrix lead.
pub struct Places<'p> {
    /// The place of the case with this id.
    pub case: &'p dyn Fn(&str) -> String,
    /// The place of a result; the run has this number in the document.
    pub result: &'p dyn Fn(&Run, usize, &CaseResult) -> String,
    /// The place of a run, if there is one.
    pub run: &'p dyn Fn(&Run) -> Option<String>,
}

/// All on one page.
const HERE: Places<'_> = Places {
    case: &|id| format!("#{id}"),
    result: &|_, index, result| format!("#{}", anchor(result, index)),
    run: &|_| None,
};

/// One page: summary, matrix, and below it each case with what was found.
///
/// A cell links to the case's result, with expected, actual, the dialogue and how to see it again.
pub fn html(document: &Document) -> String {
    let script = format!("{SCRIPT}{}", table::SCRIPT);
    // Even a text of a server that got into the page as HTML could run nothing.
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'",
        STANDARD.encode(Sha256::digest(&script))
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(policy);
            title { "SSE conformance" }
            style { (PreEscaped(style())) }
            body {
                (top(document))
                main {
                    (summary(document))
                    h2 #matrix { "Matrix" }
                    (matrix(document, &HERE))
                    h2 { "Cases" }
                    @for (category, rows) in document.categories() {
                        "\n"
                        section.of-category {
                            h3 { (category) }
                            @for row in rows { (case(document, row)) }
                        }
                    }
                }
                script { (PreEscaped(script)) }
            }
        }
    };
    visible(&page)
}

/// The text of a page. Markup has no other control characters than these, text of a server may have any.
pub fn visible(page: &Markup) -> String {
    let visible = |it: char| if it.is_control() && !"\n\t".contains(it) { '\u{fffd}' } else { it };
    page.0.chars().map(visible).collect()
}

fn top(document: &Document) -> Markup {
    html! {
        header {
            h1 { "SSE conformance" }
            p {
                "The results of these " (subjects(document)) " in the cases of "
                code { "sse-bench conform" }
                ". Follow a letter to the expected result, the actual one, and the bytes, and the head of a row to its case."
            }
            (legend())
        }
    }
}

/// The letters of a matrix, and what each means.
pub fn legend() -> Markup {
    html! {
        ul.legend {
            @for verdict in Verdict::ALL {
                li { (mark(verdict, "")) " " b { (verdict.word()) } " " (verdict.meaning()) }
            }
            li {
                (mark(Verdict::Fail, " known")) " " b { "†" }
                " a failure that is known and listed, with its reason"
            }
        }
    }
}

fn summary(document: &Document) -> Markup {
    const WORDS: [&str; 7] =
        ["passed", "non-strict", "failed", "known", "facts", "skipped", "not judged"];
    html! {
        // Its numbers are short: it is a table on all but a phone.
        div.table { table.summary.sortable.few {
            thead { tr {
                th scope="col" { (subjects(document)) }
                @for word in WORDS { th.n scope="col" { (word) } }
            } }
            tbody { @for run in &document.runs {
                "\n"
                tr {
                    th scope="row" {
                        (run.label())
                        @if let Some(framework) = &run.framework { " " small { (framework) } }
                        " " small { (conditions(run)) }
                    }
                    @let it = &run.summary;
                    @for (number, word) in it.columns().iter().chain([&it.not_judged]).zip(WORDS) {
                        td class={ "n" @if *number == 0 { " zero" } } data-title=(word) { (number) }
                    }
                }
            } }
        } }
    }
}

/// How a run was made: profile, suite, when, for how long.
fn conditions(run: &Run) -> String {
    let profile = run.profile.map_or_else(String::new, |it| format!("profile {it}, "));
    let strict = if run.strict { "strict, " } else { "" };
    let is_scaled = (run.time_scale - 1.0).abs() > f64::EPSILON;
    let scale = if is_scaled { format!("times × {}, ", run.time_scale) } else { String::new() };
    let began = run.began.get(..16).unwrap_or(&run.began).replace('T', " ");
    let took = run.took_ms as f64 / 1e3;
    format!("{profile}{strict}{scale}suite {}, {began} UTC, {took:.1} s", run.suite_version)
}

/// The question to the matrix; a script shows it and answers.
fn filter(document: &Document) -> Markup {
    html! {
        form.filter role="search" aria-label="Cases" hidden {
            label { "Search " input type="search" placeholder="id, slug or word" autocomplete="off"; }
            @if document.runs.len() > 1 {
                label { input type="checkbox"; " only rows that differ" }
            }
            output role="status" {}
        }
    }
}

/// Whether all runs that were judged in this case have the same verdict.
fn is_same(document: &Document, id: &str) -> bool {
    let verdicts = document.runs.iter().filter_map(|run| Some(run.result(id)?.verdict));
    let mut verdicts = verdicts.filter(|it| *it != Verdict::Skip);
    let first = verdicts.next();
    verdicts.all(|it| Some(it) == first)
}

/// The matrix, with the question to it above.
pub fn matrix(document: &Document, places: &Places<'_>) -> Markup {
    html! {
        (filter(document))
        div.scroll { table.matrix {
            thead { tr {
                th.case { "case" }
                @for run in &document.runs {
                    th.run scope="col" { span {
                        @match (places.run)(run) {
                            Some(place) => a href=(place) { (run.label()) },
                            None => (run.label()),
                        }
                    } }
                }
                th.claim { "claim" }
            } }
            @for (category, rows) in document.categories() {
                tbody {
                    tr.category {
                        th.case { (category) }
                        td colspan=(document.runs.len()) {}
                        td.claim {}
                    }
                    @for row in rows {
                        "\n"
                        tr data-case=(row.id) data-same[is_same(document, &row.id)] {
                            th.case scope="row" {
                                a href=((places.case)(&row.id)) { b { (row.id) } " " (row.slug) }
                                " " small { (level_word(row.level)) }
                            }
                            @for (index, run) in document.runs.iter().enumerate() {
                                td {
                                    @if let Some(result) = run.result(&row.id) {
                                        (cell(run, index, result, places))
                                    }
                                }
                            }
                            td.claim { (row.claim) }
                        }
                    }
                }
            }
        } }
    }
}

fn cell(run: &Run, index: usize, result: &CaseResult, places: &Places<'_>) -> Markup {
    let class = format!("v {}{}", class(result.verdict), more_class(result));
    let letter = letter(result.verdict);
    let case = (places.case)(&result.id);
    let place = if is_told(result) { (places.result)(run, index, result) } else { case.clone() };
    // Heads stay in sight, and most cells pass: links and titles in all of them would be half of the page, and thousands
    // of stops for a keyboard.
    let is_plain = matches!(result.verdict, Verdict::Pass | Verdict::Skip) && !result.is_stale();
    if is_plain && place == case {
        return html! { span class=(class) { (letter) } };
    }
    let title = format!("{} · {}: {}", result.id, run.label(), words(result));
    let title = (!is_plain).then_some(title);
    html! { a class=(class) href=(place) title=[title] { (letter) } }
}

fn case(document: &Document, row: &CaseResult) -> Markup {
    html! {
        article id=(row.id) {
            h4 { (row.id) " " (row.slug) " " small { (level_word(row.level)) " · " (row.source) } }
            p { (row.claim) }
            @if !row.fix.is_empty() {
                details.how {
                    summary { "Requests sent, and how to fix it" }
                    p { "Sent: " (row.sends) }
                    p { "To fix: " (row.fix) }
                }
            }
            // The runs with each verdict: for readers who cannot see the matrix.
            p.who {
                @for verdict in Verdict::ALL {
                    @let labels = labels_with(document, &row.id, verdict);
                    @if !labels.is_empty() { (mark(verdict, "")) " " (labels.join(", ")) " " }
                }
            }
            @for (index, run) in document.runs.iter().enumerate() {
                @if let Some(result) = run.result(&row.id).filter(|it| is_told(it)) {
                    (told(run, index, result))
                }
            }
            p.up { a href="#matrix" { "to the matrix" } }
        }
    }
}

fn labels_with(document: &Document, id: &str, verdict: Verdict) -> Vec<String> {
    let runs = document.runs.iter();
    let has_it = |run: &&Run| run.result(id).is_some_and(|it| it.verdict == verdict);
    runs.filter(has_it).map(Run::label).collect()
}

fn told(run: &Run, index: usize, result: &CaseResult) -> Markup {
    html! {
        "\n"
        details.result id=(anchor(result, index)) open[result.is_miss()] {
            summary {
                (mark_of(result))
                " " b { (run.label()) } " " (words(result))
            }
            (details(result))
            @if let Some(dialogue) = &result.dialogue { pre tabindex="0" { (dialogue) } }
        }
    }
}

/// Everything that is known of a result beside its bytes: expected, actual, why it is known, how to see it again.
pub fn details(result: &CaseResult) -> Markup {
    html! {
        dl {
            @for (what, text) in [("expected", &result.expected), ("actual", &result.actual)] {
                @if let Some(text) = text { dt { (what) } dd { code { (text) } } }
            }
            @if let Some(known) = &result.deviation {
                dt { "known" }
                dd {
                    (known.reason) " (" (known.version) ")"
                    // A link, and only if it is one: the text comes from any user's file.
                    @let link = known.upstream.as_ref();
                    @if let Some(link) = link.filter(|it| it.starts_with("https://")) {
                        " " a href=(link) { (link) }
                    }
                }
            }
            @if let Some(place) = result.fixed_in().filter(|_| result.is_miss()) {
                dt { "to fix in" } dd { (place) }
            }
            @if let Some(line) = &result.reproduce { dt { "again" } dd { code { (line) } } }
        }
    }
}

/// The letter of a result in its colour.
pub fn mark_of(result: &CaseResult) -> Markup {
    mark(result.verdict, more_class(result))
}

/// The letter of a verdict in its colour.
pub fn mark(verdict: Verdict, more: &str) -> Markup {
    html! { span class={ "v " (class(verdict)) (more) } { (letter(verdict)) } }
}

/// Whether there is more to say of it than the verdict.
pub fn is_told(result: &CaseResult) -> bool {
    result.actual.is_some() || result.is_stale()
}

/// The verdict in words.
pub fn words(result: &CaseResult) -> String {
    let word = result.verdict.word();
    if result.is_known() {
        format!("{word}, known")
    } else if result.is_stale() {
        format!("{word}, but listed as a deviation: take the entry out")
    } else {
        word.to_owned()
    }
}

fn anchor(result: &CaseResult, index: usize) -> String {
    format!("{}-{index}", result.id)
}

fn letter(verdict: Verdict) -> char {
    match verdict {
        // It should be the least loud of all.
        Verdict::Pass => '✓',
        Verdict::Skip => '–',
        verdict => verdict.letter(),
    }
}

/// The class of a verdict's letter.
pub fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::NonStrict => "nonstrict",
        Verdict::Fail => "fail",
        Verdict::Info => "info",
        Verdict::Skip => "skip",
        Verdict::Blocked => "blocked",
        Verdict::Adapter => "adapter",
        Verdict::Error => "error",
    }
}

fn more_class(result: &CaseResult) -> &'static str {
    if result.is_known() {
        " known"
    } else if result.is_stale() {
        " stale"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn nothing_of_a_server_is_markup() {
        let text = html(&sample());
        for bad in ["<expected>", "<actual>", "one <&>", "<x>", "& </script>", "\u{1b}", "<does>"] {
            assert!(!text.contains(bad), "{bad}");
        }
        assert!(text.contains("one &lt;&amp;&gt;") && text.contains("&quot;quotes&quot;"));
        assert!(text.contains("href=\"https://example.org/?a=1&amp;b=&quot;2&quot;\""));
    }

    #[test]
    fn it_needs_nothing_but_itself() {
        let text = html(&sample());
        for bad in ["<script ", "src=", "<link", "url(", "@import", "javascript:", "fetch("] {
            assert!(!text.contains(bad), "{bad}");
        }
        assert_eq!(text.matches("<script>").count(), 1);
        assert!(text.len() < 60_000, "{} bytes", text.len());
    }

    #[test]
    fn rows_that_do_not_differ_are_marked() {
        let text = html(&sample());
        let row = |id: &str| {
            let at = text.find(&format!("<tr data-case=\"{id}\"")).unwrap();
            text[at..].split('>').next().unwrap().to_owned()
        };
        // One run passes S1.01, the other misses it; S10.03 has one result only.
        assert!(!row("S1.01").contains("data-same") && row("S10.03").contains("data-same"));
        let one = Document::new(vec![sample().runs[0].clone()]);
        assert!(!html(&one).contains("only rows that differ"));
    }

    #[test]
    fn every_link_within_the_page_has_its_target_and_ids_are_unique() {
        let text = html(&sample());
        let after = |marker: &str| -> Vec<String> {
            let parts = text.split(marker).skip(1);
            parts.map(|it| it.split('"').next().unwrap().to_owned()).collect()
        };
        let ids = after(" id=\"");
        for target in after("href=\"#") {
            assert_eq!(ids.iter().filter(|id| **id == target).count(), 1, "#{target}");
        }
    }

    #[test]
    fn an_upstream_that_is_no_web_address_is_no_link() {
        let mut document = sample();
        for result in &mut document.runs[0].results {
            if let Some(known) = &mut result.deviation {
                known.upstream = Some("javascript:alert(1)".to_owned());
            }
        }
        assert!(!html(&document).contains("javascript:"));
    }
}
