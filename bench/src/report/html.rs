//! A report as one page that needs nothing else: no script, no font, no image from elsewhere, and open from a disk it works.

use std::path::Path;

use conform::report::table::{self, Table, Tone};
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use super::charts::{self, Chart};
use super::remarks::{self, LIMITS};
use super::{Report, render};

const STYLE: &str = include_str!("report.css");

/// The style of charts, wherever they stand.
pub(crate) const CHART_STYLE: &str = include_str!("charts.css");

/// The title of a report that stands alone.
const TITLE: &str = "SSE servers measured";

/// In a checkout: how it is measured, and where the matrices of verdicts are.
const METHODOLOGY: &str = "bench/METHODOLOGY.md";
const RESULTS: &str = "bench/results";

/// Values of the lines in charts.
const SCRIPT: &str = include_str!("report.js");

/// The title and the links around a report.
pub(crate) struct Frame<'f> {
    pub(crate) title: &'f str,
    /// A menu above it, and its style.
    pub(crate) head: Option<(Markup, &'f str)>,
    /// Further reading: words and address.
    pub(crate) links: Vec<(&'f str, String)>,
}

/// The whole page, with links to what lies beside its folder.
pub fn html(report: &Report, folder: &Path) -> String {
    page_of(report, &Frame { title: TITLE, head: None, links: links(folder) })
}

/// The charts of a front page: the finding, the drawing, how to read it.
pub(crate) fn front_charts(
    report: &Report,
) -> impl Iterator<Item = (String, Markup, &'static str)> {
    charts::front(report).into_iter().map(|it| (it.title, it.drawing, it.caption))
}

/// The whole page, in this frame.
pub(crate) fn page_of(report: &Report, frame: &Frame<'_>) -> String {
    let body = html! {
        h1 { (frame.title) }
        @for line in remarks::warnings(report) {
            p class="bad" { (line) }
        }
        p class="soft" {
            (report.began) ", profile " (report.profile) "; one host, loopback, unreviewed. Made by "
            code { (report.command) } "; " code { "sse-bench report DIR" } " renders it again."
            @for (words, target) in &frame.links { " · " a href=(target) { (words) } }
        }
        (summary(report))
        h2 { "Charts" }
        div class="charts" {
            @for Chart { title, caption, drawing } in charts::charts(report) {
                figure {
                    h3 { (title) }
                    (drawing)
                    figcaption class="soft" { (caption) }
                }
            }
        }
        (belief(report))
        h2 { "Limits of the numbers" }
        (list(LIMITS))
        h2 { "Every workload" }
        @for (title, table) in render::tables(report).into_iter().skip(1) {
            h3 { (title) }
            (table.html())
        }
        (conformance(report))
        h2 { "Where" }
        dl class="where" {
            @for (what, value) in remarks::environment(report) {
                dt { (what) } dd { (value) }
            }
        }
    };
    framed(&format!("{}, {}", frame.title, report.began), frame.head.as_ref(), &body)
}

/// A page with this title and body.
pub(super) fn page(title: &str, body: &Markup) -> String {
    framed(title, None, body)
}

/// A page with this title and body, and a head with its style.
fn framed(title: &str, head: Option<&(Markup, &str)>, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(CHART_STYLE)) (PreEscaped(table::style()))
                    @if let Some((_, style)) = head { (PreEscaped(*style)) }
                }
            }
            body {
                @if let Some((head, _)) = head { (head) }
                main { (body) }
                script { (PreEscaped(SCRIPT)) (PreEscaped(table::SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// How many columns of numbers the summary has in a window of less than 1000 pixels, which README has, too, and of less
/// than 1360.
const FEW: usize = 4;
const MOST: usize = 8;

fn summary(report: &Report) -> Markup {
    let (title, table) = render::summary(report);
    html! {
        h2 { "Summary" }
        p { "Columns: " (title.strip_prefix("Summary: ").unwrap_or(&title)) "." }
        (table.html_fitting(FEW, MOST))
        p class="soft fewer" { "Columns without room are left out here; a wider window shows all." }
        p class="soft" {
            "× is the multiple of the floor, a bare one-thread server in the same rounds: taken within each round, then \
             averaged, so it is no quotient of two medians. A click on a title sorts."
        }
    }
}

fn list(lines: &[impl Render]) -> Markup {
    html! { ul class="plain" { @for line in lines { li { (line) } } } }
}

fn belief(report: &Report) -> Markup {
    let mut truths = Table::new(3, ["what was done", "truth", "found"]);
    for it in &report.self_check {
        let tone = if it.passed { Tone::Plain } else { Tone::Bad };
        truths.row_in(tone, vec![it.what.clone(), it.truth.clone(), it.found.clone()]);
    }
    html! {
        h2 { "How far it can be believed" }
        (list(&remarks::remarks(report)))
        h3 { "Known truths, found before anything was measured" }
        (truths.html())
    }
}

fn conformance(report: &Report) -> Markup {
    let mut table = Table::new(
        2,
        [
            "server",
            "failed cases and recommendations",
            "passed",
            "failed",
            "recommendations failed",
        ],
    );
    let mut is_any = false;
    for (row, it) in report.rows.iter().filter_map(|row| Some((row, row.conformance.as_ref()?))) {
        is_any = true;
        let missed =
            if it.missed.is_empty() { render::NOTHING.into() } else { it.missed.join(", ") };
        let numbers = [it.passed as usize, it.failed as usize, it.recommendations()];
        let mut cells = vec![render::title(row), missed];
        cells.extend(numbers.map(|it| it.to_string()));
        table.row(cells);
    }
    html! { @if is_any { h2 { "Conformance" } (table.html()) } }
}

/// Further reading, relative to the report's folder; what lies beside a checkout only if it is in one.
fn links(folder: &Path) -> Vec<(&'static str, String)> {
    let mut links = vec![("data", super::JSON_NAME.to_owned())];
    let here = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let is_checkout = |it: &&Path| it.join(METHODOLOGY).exists();
    let Some((depth, root)) =
        here.ancestors().zip(0..).map(|(it, depth)| (depth, it)).find(|it| is_checkout(&it.1))
    else {
        return links;
    };
    let up = "../".repeat(depth);
    links.push(("how it is measured", format!("{up}{METHODOLOGY}")));
    let results = std::fs::read_dir(root.join(RESULTS)).into_iter().flatten().flatten();
    let matrices = results.filter_map(|it| {
        let name = it.file_name().into_string().ok()?;
        let is_one = name.ends_with("-conformance") && it.path().join("matrix.html").exists();
        is_one.then_some(name)
    });
    // Their names begin with the date.
    if let Some(latest) = matrices.max() {
        links.push(("what each server conforms to", format!("{up}{RESULTS}/{latest}/matrix.html")));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::report;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else_and_has_the_finding() {
        let folder = Path::new("/nowhere");
        let page = html(&report(), folder);
        // A namespace is a name, not an address.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http://", "https://", "url(", "src=", "@import", "fetch(", "<link"] {
            assert!(!addresses.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("<main>"));
        let alone = "broadcast-1000: 20 ns CPU time of the server for a delivered event, of good shared alone";
        assert!(page.contains(alone));
        let mut more = report();
        let (good, lossy) = (more.rows[1].cells.clone(), &mut more.rows[2]);
        lossy.cells = good;
        for window in lossy.cells.iter_mut().flat_map(|it| &mut it.windows) {
            window.figures.cpu_ns_per_event = Some(30.0);
        }
        more.summarise();
        let once = "broadcast-1000: 20 to 30 ns CPU time of the server for a delivered event; one round is not a ranking";
        assert!(html(&more, folder).contains(once));
        for cell in more.rows.iter_mut().flat_map(|row| &mut row.cells) {
            let again = super::super::Window { round: 2, ..cell.windows[0].clone() };
            cell.windows.push(again);
        }
        more.summarise();
        let finding = "broadcast-1000: good shared takes the least CPU for an event, 20 ns";
        assert!(html(&more, folder).contains(finding));
        assert!(page.len() < 400_000);
        // The script may say it.
        assert!(!page.split("<script>").next().unwrap().contains("NaN"));
    }

    #[test]
    fn failed_recommendations_are_told_from_failed_demands() {
        let mut report = report();
        let missed = ["S4.03-crlf-in-data", "S4.06-empty-data", "S10.06-hostile-no-crash"];
        report.rows[1].conformance.as_mut().unwrap().missed = missed.map(str::to_owned).into();
        let page = html(&report, Path::new("/nowhere"));
        assert!(page.contains("data-title=\"failed cases and recommendations\""), "{page}");
        assert!(page.contains("data-title=\"recommendations failed\">2<"), "{page}");
        let text = render::markdown(&report);
        assert!(text.contains("good 1.2.3 shared, failed 1, recommendations 2: S4.03"), "{text}");
    }

    #[test]
    fn a_twin_is_explained_where_it_first_stands_and_once() {
        let mut report = report();
        let mut twin = report.rows[1].clone();
        twin.twin_of = Some(twin.key());
        twin.server += super::super::TWIN;
        report.rows.push(twin);
        let text = render::markdown(&report);
        assert_eq!(text.matches(render::TWIN_WORDS).count(), 1, "{text}");
        report.rows.pop();
        assert!(!render::markdown(&report).contains(render::TWIN_WORDS));
    }

    #[test]
    fn a_report_in_a_checkout_links_to_the_method_and_the_matrix() {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let page = html(&report(), &results.join("2026-11-29-xeon-2-cores"));
        assert!(page.contains("href=\"../../../bench/METHODOLOGY.md\""));
        assert!(page.contains("-conformance/matrix.html\""));
    }
}
