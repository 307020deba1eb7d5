//! The guide says nothing that it does not show: its cases exist, its lines name their sources, and
//! links and paths within the repository lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const START: &str = "<!-- cargo test -p sse-bench --test workspace guide -->\n";
const END: &str = "<!-- /cargo test -p sse-bench --test workspace guide -->";

/// Set, it has the test write what it would else compare.
const UPDATE: &str = "SSE_UPDATE_GUIDE";

/// The list of cases at the guide's end is what the catalogue says of those that the text names.
#[test]
fn the_cases_of_the_guide_exist_and_say_what_the_catalogue_says() {
    let path = workspace().join("GUIDE.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = guide.split_once(START).expect("the guide has a place for the cases");
    let (found, after) = rest.split_once(END).expect("the place has an end");
    let catalogue = catalogue();
    let mut list =
        String::from("| case | level | judged on | claim |\n| --- | --- | --- | --- |\n");
    let mut links = String::from("\n");
    let mut named: Vec<_> = cases_in(before).into_iter().collect();
    named.sort_by_key(|id| id[1..].split('.').map(|it| it.parse::<u8>().ok()).collect::<Vec<_>>());
    assert!(named.len() > 20, "{named:?}");
    for id in &named {
        let Some(Named { slug, level, claim, on }) = catalogue.get(id) else {
            panic!("the guide names {id:?}, which is no case; see sse-bench list cases");
        };
        let level = level.replace("-contract", "\\*").to_uppercase();
        let anchor = format!("{}-{slug}", id.to_lowercase().replace('.', "-"));
        let _ = writeln!(list, "| <a id=\"{anchor}\"></a>{id}-{slug} | {level} | {on} | {claim} |");
        let _ = writeln!(links, "[{id}]: #{anchor}");
    }
    let expected = format!("\n{list}{links}\n");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{before}{START}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "run it again with {UPDATE}=1 to write the list anew");
}

/// A claim without a source is an opinion.
#[test]
fn every_line_of_the_guide_names_its_source() {
    let guide = std::fs::read_to_string(workspace().join("GUIDE.md")).unwrap();
    let (text, _) = guide.split_once(START).unwrap();
    let items = text.split("\n- ").skip(1);
    let items: Vec<_> = items.map(|item| item.split("\n\n").next().unwrap()).collect();
    assert!(items.len() > 30, "{}", items.len());
    for item in items {
        assert!(!cases_in(item).is_empty() || item.contains("]("), "no source: {item}");
    }
}

/// The tests that SECURITY.md names exist, and a cell says yes if a server lists none of them.
#[test]
fn the_promises_of_security_are_kept_as_it_says() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap_or_default();
    let tests = git_files("bench/tests/workspace/*.rs");
    let tests: String = tests.iter().map(|it| read(it)).collect();
    let (folders, catalogue) = (git_files("*/Cargo.toml"), catalogue());
    let security = read("SECURITY.md");
    let mut rows = security
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let servers = rows.next().unwrap().split_off(3);
    let mut promises = 0;
    for row in rows.skip(1) {
        let words = row[2].split(['`', ' ', ',', ';']).filter(|it| it.contains(['-', '.', ':']));
        let names: Vec<_> = words.filter(|it| !it.contains('/')).collect();
        for name in &names {
            let module = name.strip_prefix("feed::").map(|it| format!("feed/src/{it}.rs"));
            let is_there = tests.contains(&format!("\"{name}\""))
                || catalogue.contains_key(*name)
                || module.is_some_and(|it| workspace().join(it).exists());
            assert!(is_there, "SECURITY.md: {name} is no test");
        }
        for (server, cell) in servers.iter().zip(&row[3..]).filter(|_| !names.is_empty()) {
            let manifest = folders.iter().find(|it| it.contains(&format!("_{server}"))).unwrap();
            let listed = read(&manifest.replace("Cargo.toml", "deviations.toml"));
            let is_listed = names.iter().any(|it| listed.contains(&format!("\"{it}\"")));
            assert_eq!(*cell == "yes", !is_listed, "SECURITY.md: {server}, {names:?}");
            promises += 1;
        }
    }
    assert!(promises > 90, "{promises}");
}

/// Files and headings that Markdown points to are there.
#[test]
fn links_within_the_repository_lead_somewhere() {
    let mut faults = String::new();
    for path in markdown_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in links(&text) {
            // Elsewhere, or an item that rustdoc finds.
            if target.contains("://") || target.contains("::") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let is_there = file.exists()
                && (anchor.is_empty()
                    || std::fs::read_to_string(&file).is_ok_and(|it| has_anchor(&it, anchor)));
            if !is_there {
                let _ = writeln!(faults, "{}: {target}", path.display());
            }
        }
    }
    assert!(faults.is_empty(), "links that lead nowhere\n{faults}");
}

/// Files and folders that Markdown names in backquotes are there, under any folder.
#[test]
fn paths_in_backquotes_exist() {
    let tracked = git_files("*");
    let files = tracked.iter().map(|it| Path::new(it).ancestors());
    let known: BTreeSet<&Path> = files.flatten().filter(|it| !it.as_os_str().is_empty()).collect();
    let mut faults = String::new();
    // Results and the list of changes say how it was.
    let is_history = |it: &str| it.starts_with("bench/results/") || it == "CHANGELOG.md";
    for file in git_files("*.md").iter().filter(|it| !is_history(it)) {
        let text = std::fs::read_to_string(workspace().join(file)).unwrap();
        for path in paths(&text) {
            let path = path.strip_suffix("/*").unwrap_or(path);
            if !known.iter().any(|it| it.ends_with(path)) {
                let _ = writeln!(faults, "{file}: {path}");
            }
        }
    }
    assert!(faults.is_empty(), "paths that do not exist\n{faults}");
}

/// Words in backquotes that are paths in a checkout; code blocks are left out.
fn paths(text: &str) -> Vec<&str> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-./*".contains(it);
    let endings = [".rs", ".toml", ".md", ".json", ".mjs", ".html", ".css", ".sh"];
    // Media types; files and folders that a build or the reader makes.
    let others = ["text/", "application/", "target/", "7_", "Rocket.toml"];
    let is_path = |it: &&str| {
        it.starts_with(|first: char| first.is_ascii_alphanumeric())
            && it.chars().all(is_plain)
            && (it.contains('/') || endings.iter().any(|ending| it.ends_with(ending)))
            && !it.chars().all(|it| it.is_uppercase() || it == '/')
            && !others.iter().any(|other| it.starts_with(other))
            && !it.starts_with("X/")
    };
    let mut is_code = false;
    let prose = text.lines().filter(|line| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_path).collect()
}

/// Ids in brackets, such as `[S5.02]`.
fn cases_in(text: &str) -> BTreeSet<String> {
    let words = text.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let is_case = |word: &&str| {
        word.starts_with('S')
            && word[1..].split_once('.').is_some_and(|(category, number)| {
                [category, number].iter().all(|it| it.parse::<u8>().is_ok())
            })
    };
    words.filter(is_case).map(str::to_owned).collect()
}

/// Slug, level and claim of each case, as the command lists them.
fn catalogue() -> BTreeMap<String, Named> {
    let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["list", "cases", "--json"])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = json["cases"].as_array().unwrap().iter();
    let text = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
    let entry = |case: &Value| {
        let needs: Vec<_> =
            case["needs"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
        let [slug, level, claim] = ["slug", "level", "claim"].map(|name| text(case, name));
        let id = text(case, "id");
        let on = if id.starts_with("S13.") { "several nodes" } else { judged_on(&needs) };
        (id, Named { slug, level, claim, on })
    };
    cases.map(entry).collect()
}

/// A case of the catalogue.
struct Named {
    slug: String,
    level: String,
    claim: String,
    on: &'static str,
}

/// The servers that show what a case with these needs is about.
fn judged_on(needs: &[&str]) -> &'static str {
    let needs_one_of = |names: &[&str]| needs.iter().any(|it| names.contains(it));
    match () {
        () if needs_one_of(&["topics", "metrics", "endpoints"]) => "our contract",
        () if needs_one_of(&["script"]) => "the script",
        () if needs_one_of(&["process"]) => "`--start-cmd`",
        () if needs_one_of(&["http2"]) => "HTTP/2",
        () if needs_one_of(&["keep-alive"]) => "`--keep-alive-ms`",
        () if needs_one_of(&["text"]) => "`--publish`, the script",
        () if needs_one_of(&["publish"]) => "`--publish`",
        () => "any URL",
    }
}

/// Targets of Markdown's links and pictures, and of its HTML's; code is left out.
fn links(text: &str) -> Vec<String> {
    let mut is_code = false;
    let prose: String = text
        .lines()
        .filter(|line| {
            is_code ^= line.trim_start().starts_with("```");
            !is_code
        })
        // Text between backticks may look like a link.
        .flat_map(|line| line.split('`').step_by(2).chain(["\n"]))
        .collect();
    let mut links = Vec::new();
    for (start, end) in
        [("](", ')'), ("]: ", '\n'), ("src=\"", '"'), ("srcset=\"", '"'), ("href=\"", '"')]
    {
        let targets = prose.split(start).skip(1).filter_map(|rest| rest.split(end).next());
        links.extend(targets.filter(|it| !it.contains(' ')).map(str::to_owned));
    }
    links
}

/// Whether a document has a heading or an anchor of this name.
fn has_anchor(text: &str, anchor: &str) -> bool {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    let heading =
        |line: &str| line.starts_with('#') && slug(line.trim_start_matches('#')) == anchor;
    text.contains(&format!("<a id=\"{anchor}\"></a>")) || text.lines().any(heading)
}

fn markdown_files() -> Vec<PathBuf> {
    git_files("*.md").iter().map(|name| workspace().join(name)).collect()
}

/// Files of the repository, relative to its root.
fn git_files(pattern: &str) -> Vec<String> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", pattern];
    let output = Command::new("git").args(args).current_dir(workspace()).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<_> = names.lines().map(str::to_owned).collect();
    assert!(files.len() > 5, "git ls-files does not work here");
    files
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench lies in the workspace")
}

#[test]
fn links_and_anchors_are_found() {
    assert_eq!(links("a [b](c.md#d) `[no](x)`\n```\n[no](y)\n```\n[e]: f\n"), ["c.md#d", "f"]);
    assert!(has_anchor("# A b: c\n", "a-b-c") && !has_anchor("A b\n", "a-b"));
    assert_eq!(paths("`a/b.rs` c/d `text/plain` `e.md`\n```\n`f/g`\n```\n"), ["a/b.rs", "e.md"]);
    assert_eq!(cases_in("[S1.02] [x] [S1] S2.03").into_iter().collect::<Vec<_>>(), ["S1.02"]);
}
