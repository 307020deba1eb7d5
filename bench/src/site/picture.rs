//! The picture of a start page: the cases that most programs fail, and a square for each program.

use conform::report::Run;
use conform::report::html::class;
use conform::{CaseResult, Described, Level, Scope, Verdict};
use maud::{Markup, html};

use super::case;
use super::field::Implementation;

/// Cases in the picture: what fits on a screen or two.
const CASES: usize = 12;

/// Measures of the drawing; on a phone it is as wide as the screen, so a unit is about a pixel.
const WIDTH: f64 = 400.0;
const LINE: f64 = 17.0;
const SQUARE: f64 = 15.0;
const GAP: f64 = 3.0;
/// The number behind the squares.
const COUNT: f64 = 62.0;
/// Letters of a claim in a line.
const LETTERS: usize = 54;
/// Lines of a claim.
const LINES: usize = 2;

/// A case, and how each program does in it.
struct Row<'f> {
    case: &'f Described,
    results: Vec<Option<&'f CaseResult>>,
    failed: usize,
}

/// The cases that most of these programs fail, those that a standard demands before those that it recommends.
///
/// `None` if none fails.
pub(super) fn picture(
    cases: &[Described],
    programs: &[(&Implementation, &Run)],
    describes: &str,
) -> Option<Markup> {
    let mut rows: Vec<Row<'_>> = cases.iter().map(|case| row(case, programs)).collect();
    rows.retain(|it| it.failed > 0);
    rows.sort_by_key(|it| (std::cmp::Reverse(it.failed), it.case.level == Level::Should));
    rows.truncate(CASES);
    if rows.is_empty() {
        return None;
    }
    let step = ((WIDTH - COUNT) / programs.len() as f64).min(SQUARE + GAP);
    let mut y = 0.0;
    let drawn: Vec<(f64, &Row<'_>, Vec<String>)> = rows
        .iter()
        .map(|row| {
            let (top, lines) = (y, lines_of(row.case));
            y += LINE * lines.len() as f64 + SQUARE + 20.0;
            (top, row, lines)
        })
        .collect();
    Some(html! {
        svg.picture viewBox=(format!("0 0 {WIDTH} {y:.0}")) role="group" aria-label=(describes) {
            @for (top, row, lines) in &drawn {
                a href=(case::page(row.case.id)) {
                    @for (number, line) in lines.iter().enumerate() {
                        @let at = top + LINE * (number as f64 + 0.8);
                        text x="0" y=(format!("{at:.0}")) class="label" { (line) }
                    }
                }
                @let top = top + LINE * lines.len() as f64 + 4.0;
                @for ((result, (_, run)), number) in row.results.iter().zip(programs).zip(0_u16..) {
                    (square(*result, run, f64::from(number) * step, top, step - GAP.min(step / 4.0)))
                }
                @let judged = row.results.iter().flatten().filter(|it| is_judged(it)).count();
                text x=(format!("{WIDTH}")) y=(format!("{:.0}", top + 12.0)) text-anchor="end" {
                    (row.failed) " of " (judged)
                }
            }
        }
    })
}

fn row<'f>(case: &'f Described, programs: &[(&Implementation, &'f Run)]) -> Row<'f> {
    let results: Vec<_> = programs.iter().map(|(_, run)| run.result(case.id)).collect();
    let failed = results.iter().flatten().filter(|it| it.is_miss()).count();
    Row { case, results, failed }
}

fn is_judged(result: &CaseResult) -> bool {
    matches!(result.verdict, Verdict::Pass | Verdict::NonStrict | Verdict::Fail | Verdict::Info)
}

/// A failure is a whole square, a failed recommendation a round one, a pass a pale one, the rest a dash.
fn square(result: Option<&CaseResult>, run: &Run, x: f64, y: f64, size: f64) -> Markup {
    let verdict = result.map(|it| it.verdict);
    let (class, radius) = match verdict {
        Some(Verdict::NonStrict) => ("nonstrict", size / 2.0),
        Some(it @ (Verdict::Fail | Verdict::Pass | Verdict::Info)) => (class(it), 1.0),
        _ => ("skip", 0.0),
    };
    let word = verdict.map_or("not judged", Verdict::word);
    let (height, y) = if class == "skip" { (1.5, y + size / 2.0) } else { (size, y) };
    html! {
        rect class=(class) x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{size:.1}"))
            height=(format!("{height:.1}")) rx=(format!("{radius:.1}")) {
            title { (run.label()) ": " (word) }
        }
    }
}

/// Id and claim, in lines that fit.
fn lines_of(case: &Described) -> Vec<String> {
    let below = if case.scope == Scope::Http { " (HTTP)" } else { "" };
    let words = format!("{}{below}: {}", case.id, case.claim);
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() <= LETTERS {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        } else if lines.len() < LINES {
            lines.push(word.to_owned());
        } else {
            lines[last].push_str(" …");
            break;
        }
    }
    lines
}
