//! `sse-bench site`: everything that is kept of verdicts and figures as pages that need nothing but each other.
//!
//! The pages are made from `bench/results`, the catalogue of cases and rules, and the folders of servers and clients.
//! They work from a disk as from a server, without a script, and ask nothing of any other host.

mod badge;
mod case;
mod document;
mod field;
mod implementation;
mod page;
mod picture;
mod start;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use conform::report::html::{self as matrix, Places};
use conform::report::{Run, table, write};
use conform::{CaseResult, Side};
use maud::{Markup, html};

use badge::Badge;
use document::{Links, rendered};
use field::Field;
use page::{MATRIX_SCRIPT, Page, STYLE, TABLE_SCRIPT};

use crate::report::{CHART_STYLE, Frame, page_of};

/// The style that is of the site alone.
const SITE_STYLE: &str = include_str!("site/site.css");

/// GitHub Pages would else leave out what begins with `_`; a folder that has it is a site, and may be written again.
const MARK: &str = ".nojekyll";

/// Folders of a site, which a new one replaces.
const FOLDERS: [&str; 4] = ["case", "server", "client", "badge"];

/// Documents of the repository that are pages: path, address, words of the menu.
const DOCUMENTS: [(&str, &str, &str); 2] = [
    ("bench/METHODOLOGY.md", "methodology.html", "Method"),
    ("bench/COSTS.md", "costs.html", "Where the cost is"),
];

/// Reports that are pages, in the words of the menu.
const FIGURES: &str = "Figures";
const SCALING: &str = "How cost grows";

/// How to make a site.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sse-bench site --out target/site    then open target/site/index.html
  sse-bench site --out target/site \\
    --repository https://github.com/OWNER/NAME/blob/main/")]
pub struct Args {
    /// The folder that the pages go into: a new or empty one, or one that holds an earlier site
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where files of the repository can be seen: links to those that are no pages of the site lead there
    #[arg(long, value_name = "URL")]
    pub repository: Option<String>,
}

/// Makes the site of the checkout that we are in.
///
/// # Errors
/// When there is no checkout, a kept result cannot be read, or the folder cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repository = args.repository.as_ref().map(|it| format!("{}/", it.trim_end_matches('/')));
    let field = Field::read(&field::root()?)?;
    let (count, bytes) = build(&field, &args.out, repository.as_deref())?;
    println!("{}: {count} files, {} KiB", args.out.join("index.html").display(), bytes / 1024);
    Ok(ExitCode::SUCCESS)
}

/// Writes all files; their number and size.
fn build(field: &Field, out: &Path, repository: Option<&str>) -> Result<(usize, usize)> {
    clear(out)?;
    let mut files = shared();
    let menu = menu(field);
    let mut add = |page: Page<'_>| files.push((page.path.to_owned(), page.text(&menu)));
    add(Page {
        path: "index.html",
        title: "Server-Sent Events, judged and measured",
        description: "Which servers and clients of Server-Sent Events keep the rules, and what they cost.",
        body: start::body(field, repository),
        scripts: &[TABLE_SCRIPT],
    });
    for side in [Side::Server, Side::Client] {
        add(matrix_page(field, side));
    }
    lists(field, &mut add);
    for (at, case) in field.cases.iter().enumerate() {
        add(Page {
            path: &case::page(case.id),
            title: &format!("{} {}", case.id, case.slug),
            description: case.claim,
            body: case::body(field, at),
            scripts: &[],
        });
    }
    for it in &field.implementations {
        add(Page {
            path: &it.page(),
            title: &format!("{}: Server-Sent Events", it.name),
            description: &format!("Verdicts, cost and program of {}.", it.stack),
            body: implementation::body(field, it),
            scripts: &[TABLE_SCRIPT],
        });
    }
    documents(field, repository, &mut add)?;
    for (path, title, report) in
        [("figures.html", FIGURES, field.figures()), ("scaling.html", SCALING, field.scaling())]
    {
        if let Some(report) = report {
            let head = page::head(&menu, menu.len(), path, "");
            let frame = Frame { title, head: Some((head, page::HEAD_STYLE)), links: Vec::new() };
            files.push((path.to_owned(), page_of(report, &frame)));
        }
    }
    files.extend(badges(field));
    for (path, text) in &files {
        write(&out.join(path), text)?;
    }
    Ok((files.len(), files.iter().map(|it| it.1.len()).sum()))
}

/// Makes room for a site: removes the pages of an earlier one, and nothing else.
fn clear(out: &Path) -> Result<()> {
    let is_empty = std::fs::read_dir(out).map_or(true, |mut it| it.next().is_none());
    ensure!(
        is_empty || out.join(MARK).exists(),
        "{} holds other things than a site; choose a new folder",
        out.display()
    );
    for folder in FOLDERS.map(|it| out.join(it)).iter().filter(|it| it.exists()) {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Styles and scripts.
fn shared() -> Vec<(String, String)> {
    let style = format!("{}{CHART_STYLE}{}{SITE_STYLE}", matrix::style(), page::HEAD_STYLE);
    [
        (MARK, String::new()),
        (STYLE, style),
        (MATRIX_SCRIPT, matrix::SCRIPT.to_owned()),
        (TABLE_SCRIPT, table::SCRIPT.to_owned()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into()
}

/// The pages that the others lead to, as far as there are data for them; those first that pages in folders show, too.
fn menu(field: &Field) -> Vec<(String, String)> {
    let mut menu = vec![
        ("index.html", "Start"),
        ("servers.html", "Servers"),
        ("clients.html", "Clients"),
        ("cases.html", "Cases"),
        ("rules.html", "Rules"),
        ("sets.html", "Sets"),
    ];
    if field.figures().is_some() {
        menu.push(("figures.html", FIGURES));
    }
    if field.scaling().is_some() {
        menu.push(("scaling.html", SCALING));
    }
    let documents = DOCUMENTS.iter().filter(|it| field.root.join(it.0).exists());
    menu.extend(documents.map(|it| (it.1, it.2)));
    if !field.findings.is_empty() {
        menu.push(("findings.html", "Findings"));
    }
    menu.into_iter().map(|(path, words)| (path.to_owned(), words.to_owned())).collect()
}

/// The page of a matrix; one for all results of that side.
fn matrix_file(side: Side) -> &'static str {
    match side {
        Side::Server => "servers.html",
        Side::Client => "clients.html",
    }
}

fn matrix_page(field: &Field, side: Side) -> Page<'static> {
    let path = matrix_file(side);
    let title = match side {
        Side::Server => "Servers: the matrix",
        Side::Client => "Clients: the matrix",
    };
    let document = field.document(side);
    let programs = field.latest(side);
    let page_of = |run: &Run| {
        let (of, _) = programs.iter().find(|it| it.1.label() == run.label())?;
        Some(of.page())
    };
    let places = Places { case: &case::page, result: &result_place, run: &page_of };
    Page {
        path,
        title,
        description: "Every case and every program, a letter for each verdict.",
        body: html! {
            h1 { (title) }
            p { "Follow a letter to the result and the bytes; the head of a row to its case, that of a column to the program." }
            (matrix::legend())
            (matrix::matrix(&document, &places))
        },
        scripts: &[MATRIX_SCRIPT],
    }
}

/// The result of a run in the page of a case, if more is said there than the verdict.
fn result_place(run: &Run, _: usize, result: &CaseResult) -> String {
    let page = case::page(&result.id);
    match case::is_told(result.verdict) {
        true => format!("{page}#{}", case::anchor(run)),
        false => page,
    }
}

fn lists<'p>(field: &Field, add: &mut impl FnMut(Page<'p>)) {
    let pages: [(&str, &str, &str, Markup, &[&str]); 3] = [
        ("cases.html", "Cases", "Every case of the suite, by category.", case::all(field), &[]),
        (
            "rules.html",
            "Rules",
            "Sentences that bind servers and clients of events, and the cases for each.",
            case::rules(field),
            &[],
        ),
        (
            "sets.html",
            "Sets of requirements",
            "Requirements that are frozen by date.",
            start::sets(field),
            &[TABLE_SCRIPT],
        ),
    ];
    for (path, title, description, body, scripts) in pages {
        add(Page { path, title, description, body, scripts });
    }
}

/// Documents and findings.
fn documents(
    field: &Field,
    repository: Option<&str>,
    add: &mut impl FnMut(Page<'_>),
) -> Result<()> {
    let there: Vec<_> = DOCUMENTS.iter().filter(|it| field.root.join(it.0).exists()).collect();
    let mut pages: HashMap<String, String> =
        there.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
    for (folder, side) in &field.matrices {
        pages.insert(format!("bench/results/{folder}/matrix.html"), matrix_file(*side).to_owned());
    }
    for (path, address, title) in there {
        let text = std::fs::read_to_string(field.root.join(path))
            .with_context(|| format!("cannot read {path}"))?;
        let links = Links { folder: "bench", pages: &pages, repository };
        add(document_page(address, title, &rendered(&text, &links)));
    }
    if !field.findings.is_empty() {
        let body = html! {
            @for (folder, text) in &field.findings {
                @let folder = format!("bench/results/{folder}");
                (rendered(text, &Links { folder: &folder, pages: &pages, repository }))
            }
        };
        add(document_page("findings.html", "Findings", &body));
    }
    Ok(())
}

fn document_page<'p>(path: &'p str, title: &'p str, body: &Markup) -> Page<'p> {
    let body = html! { div.document { (body) } };
    Page { path, title, description: title, body, scripts: &[] }
}

/// A badge for each program, and one for each set.
fn badges(field: &Field) -> Vec<(String, String)> {
    let mut badges = Vec::new();
    for side in [Side::Server, Side::Client] {
        for (_, run) in field.latest(side) {
            if let Some(badge) = Badge::of(run, &field.sets) {
                badges.push((implementation::badge_file(run, side, None), badge.to_json()));
            }
            for set in &field.sets {
                let path = implementation::badge_file(run, side, Some(&set.date));
                badges.push((path, Badge::of_set(run, set).to_json()));
            }
        }
    }
    badges
}
