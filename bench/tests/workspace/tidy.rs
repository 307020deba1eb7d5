//! Rules for the whole workspace: parallel servers, dependency directions, no list of servers,
//! plain English.
//!
//! The servers are found by the folders' pattern, as cargo's workspace finds them; a new one is
//! under these rules at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use fleet::Package;
use fleet::cargo_metadata::{Dependency, DependencyKind, Metadata};
use serde_json::Value;

/// Files that people read beside each other have to be short and narrow.
const MAIN_LINES: usize = 150;
const MAIN_COLUMNS: usize = 100;

/// A smallest example is read on one screen.
const SMALLEST_LINES: std::ops::RangeInclusive<usize> = 25..=40;

/// The headings of a server's README, in this order.
const README_HEADINGS: [&str; 5] =
    ["What you get", "What you must do yourself", "Traps", "Run it", "Deviations"];

/// Crates that would make the server on std sockets something else.
const RUNTIMES_AND_HTTP: [&str; 16] = [
    "tokio",
    "async-std",
    "smol",
    "async-io",
    "mio",
    "futures-executor",
    "hyper",
    "http",
    "http-body",
    "httparse",
    "httpdate",
    "h2",
    "headers",
    "axum",
    "tiny_http",
    "reqwest",
];

/// Sentences that begin with these have no noun for a subject.
const NO_SUBJECT: [&str; 6] = ["Who", "Whoever", "Whose", "Whom", "What", "Whatever"];

/// Words that have a plainer one: a noun; gets, reports; fix.
const ODD_WORDS: [&str; 5] = ["whoever", "nobody", "is told", "are told", "mend"];

fn read(server: &Package, path: &str) -> String {
    let path = server.folder.join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One of its dependencies is the framework that its manifest names.
fn has_framework(server: &Package) -> bool {
    let packages = &metadata().packages;
    let package = packages.iter().find(|it| it.name == server.name).expect("it was found there");
    package.dependencies.iter().any(|it| it.name == server.framework)
}

#[test]
fn every_numbered_folder_is_a_server_and_every_server_has_one() {
    let is_numbered = |name: &str| {
        let (number, rest) = name.split_once('_').unwrap_or_default();
        !rest.is_empty() && !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())
    };
    let folders: BTreeSet<_> = std::fs::read_dir(workspace())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| is_numbered(name))
        .collect();
    let servers: BTreeSet<_> = servers().iter().map(|it| it.folder_name().to_owned()).collect();
    assert_eq!(folders, servers, "folders, and packages with [package.metadata.server]");
    assert!(!servers.is_empty());
    for server in self::servers() {
        let expected = server.folder_name().split_once('_').unwrap().1.replace('_', "-");
        assert_eq!(server.short_name(), expected, "the package is named after its folder");
    }
}

#[test]
fn mains_have_the_same_functions_in_the_same_order() {
    let with_framework: Vec<_> = servers().into_iter().filter(has_framework).collect();
    same_in_all(&with_framework, "functions", top_level_functions);
    // A server without a framework may have more functions, and needs no `to_event` without a
    // native encoding.
    let expected = top_level_functions(&read(&with_framework[0], "src/main.rs"));
    for server in servers().iter().filter(|it| !has_framework(it)) {
        let functions = top_level_functions(&read(server, "src/main.rs"));
        let known = |names: &[String], others: &[String]| -> Vec<String> {
            names.iter().filter(|it| others.contains(it)).cloned().collect()
        };
        let shared = known(&functions, &expected);
        assert_eq!(shared, known(&expected, &functions), "the order in {}", server.folder_name());
        for name in ["main", "routes", "publish", "respond"] {
            let has = shared.iter().any(|it| it == name);
            assert!(has, "{}/src/main.rs has no {name}", server.folder_name());
        }
    }
}

#[test]
fn mains_say_the_same_about_sse_in_the_same_order() {
    same_in_all(&servers(), "SSE comments", sse_comments);
}

#[test]
fn mains_fit_beside_each_other() {
    let mut faults = String::new();
    for server in servers() {
        let main = read(&server, "src/main.rs");
        let name = server.folder_name();
        if main.lines().count() > MAIN_LINES {
            let _ =
                writeln!(faults, "{name}: {} lines, at most {MAIN_LINES}", main.lines().count());
        }
        for (line, number) in main.lines().zip(1..) {
            let columns = line.chars().count();
            if columns > MAIN_COLUMNS {
                let _ = writeln!(faults, "{name}/src/main.rs:{number}: {columns} columns");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn every_server_has_a_smallest_example_that_needs_nothing_of_ours() {
    for server in servers() {
        let example = read(&server, "examples/smallest.rs");
        let (name, lines) = (server.folder_name(), example.lines().count());
        assert!(SMALLEST_LINES.contains(&lines), "{name}: {lines} lines, not {SMALLEST_LINES:?}");
        assert!(!example.contains("feed"), "{name}: examples/smallest.rs uses feed");
        let command = format!("cargo run -p {} --example smallest", server.name);
        assert!(example.contains(&command), "{name}: examples/smallest.rs without its command");
        let readme = read(&server, "README.md");
        let link = readme.find("](").map(|at| &readme[at..]).unwrap_or_default();
        assert!(
            link.starts_with("](examples/smallest.rs)"),
            "{name}: the first link of README.md is not examples/smallest.rs"
        );
    }
}

#[test]
fn readmes_have_the_same_headings() {
    for server in servers() {
        let text = read(&server, "README.md");
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, README_HEADINGS, "{}/README.md", server.folder_name());
    }
}

#[test]
fn conformance_tests_are_the_same_bytes() {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for server in servers() {
        let text = read(&server, "tests/conformance.rs");
        texts.entry(text).or_default().push(server.name);
    }
    let names: Vec<_> = texts.values().collect();
    assert_eq!(texts.len(), 1, "tests/conformance.rs differs between {names:?}");
}

/// Servers stand on `feed`, their tests on `conform`, everything of `bench` on `client`; nothing knows a server.
#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let members: BTreeSet<_> = metadata.packages.iter().map(|it| it.name.as_str()).collect();
    let servers = servers();
    let names: Vec<_> = servers.iter().map(|it| it.name.as_str()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let of_kind = |for_tests: bool| -> BTreeSet<&str> {
            let of_it = |it: &&Dependency| (it.kind == DependencyKind::Development) == for_tests;
            let names = package.dependencies.iter().filter(of_it).map(|it| it.name.as_str());
            names.filter(|it| members.contains(it)).collect()
        };
        let (normal, for_tests) = (of_kind(false), of_kind(true));
        let (may_use, tests_may_use): (&[&str], &[&str]) = match name {
            _ if names.contains(&name) => (&["sse-feed"], &["sse-conform", "sse-fleet"]),
            "sse-feed" => (&[], &["sse-client"]),
            // For TLS before a peer of its tests.
            "sse-client" => (&[], &["sse-wire"]),
            // Criterion measures the encoder and the topics themselves; the harness never sees them.
            "sse-bench" => {
                let all = &["sse-conform", "sse-load", "sse-fleet", "sse-wire"];
                (all, &["sse-client", "sse-feed"])
            }
            "sse-conform" => (&["sse-wire", "sse-fleet", "sse-client"], &[]),
            "sse-load" => (&["sse-wire", "sse-fleet", "sse-client"], &[]),
            "sse-wire" | "sse-instructions" => (&["sse-client"], &[]),
            "sse-fleet" => (&[], &[]),
            other => panic!("which way may {other} depend? say so here"),
        };
        assert!(normal.iter().all(|it| may_use.contains(it)), "{name} depends on {normal:?}");
        let fine = for_tests.iter().all(|it| tests_may_use.contains(it) || may_use.contains(it));
        assert!(fine, "tests of {name} depend on {for_tests:?}");
    }
}

/// A server that names no framework among its dependencies uses no async runtime and no HTTP crate.
#[test]
fn the_server_without_a_framework_has_none_below_it() {
    let mut checked = 0;
    for server in servers().iter().filter(|it| !has_framework(it)) {
        checked += 1;
        let name = server.name.as_str();
        let tree = cargo(&["tree", "-p", name, "-e", "normal", "--prefix", "none", "-f", "{p}"]);
        let crates = tree.lines().filter_map(|line| line.split(' ').next());
        let wrong: BTreeSet<_> = crates.filter(|it| RUNTIMES_AND_HTTP.contains(it)).collect();
        assert!(
            wrong.is_empty(),
            "{name} stands on {wrong:?}: if it has a framework, `framework` in its Cargo.toml is the \
             name of that dependency"
        );
    }
    assert!(checked > 0, "no server is written without a framework any more");
}

/// The offline checks of `cargo deny`, from the same `deny.toml`: licences, banned crates, sources. A
/// developer without that tool gets them too; it alone knows the advisories.
#[test]
fn dependencies_are_licensed_and_none_is_banned() {
    let host = run(Command::new("rustc").arg("-vV"));
    let host = host.lines().find_map(|it| it.strip_prefix("host: ")).expect("rustc names its host");
    let text = cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let rules = std::fs::read_to_string(workspace().join("deny.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let word =
        |it: &toml::Value| it.as_str().or_else(|| it.get("crate")?.as_str()).map(str::to_owned);
    let words = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().filter_map(word).collect()
    };
    let (allowed, banned) = (words(&rules["licenses"]["allow"]), words(&rules["bans"]["deny"]));
    let mut faults = String::new();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages.iter().filter(|it| !it["source"].is_null()) {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, version) = (field("name"), field("version"));
        if !is_licensed(field("license"), &allowed) {
            let _ = writeln!(faults, "{name} {version} has the licence {:?}", field("license"));
        }
        if banned.iter().any(|it| is_banned(name, version, it)) {
            let _ = writeln!(faults, "{name} {version} is banned");
        }
        if field("source") != "registry+https://github.com/rust-lang/crates.io-index" {
            let _ = writeln!(faults, "{name} {version} comes from {}", field("source"));
        }
    }
    assert!(faults.is_empty(), "deny.toml has the rules and their reasons\n{faults}");
    assert!(packages.len() > 100, "cargo metadata shows {} packages", packages.len());
}

/// Whether every part of an SPDX expression has an allowed choice. Parentheses of `A AND (B OR C)` add
/// nothing to that.
fn is_licensed(expression: &str, allowed: &[String]) -> bool {
    let choices = |part: &str| {
        let plain = part.replace(['(', ')'], "").replace('/', " OR ");
        plain.split(" OR ").any(|it| allowed.iter().any(|allowed| allowed == it.trim()))
    };
    !expression.is_empty() && expression.split(" AND ").all(choices)
}

/// Whether a rule such as `openssl-sys` or `h2:<0.4` is about this crate.
fn is_banned(name: &str, version: &str, rule: &str) -> bool {
    let (of, below) = rule.split_once(":<").unwrap_or((rule, ""));
    let numbers = |version: &str| -> Vec<u64> {
        version.split('.').map_while(|it| it.parse().ok()).collect()
    };
    name == of && (below.is_empty() || numbers(version) < numbers(below))
}

#[test]
fn licences_and_bans_are_found() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    assert!(is_licensed("(MIT OR GPL-3.0) AND ISC", &allowed) && is_licensed("X/MIT", &allowed));
    assert!(!is_licensed("MIT AND GPL-3.0", &allowed) && !is_licensed("", &allowed));
    assert!(is_banned("h2", "0.3.27", "h2:<0.4") && is_banned("a", "1.0.0", "a"));
    assert!(!is_banned("h2", "0.4.1", "h2:<0.4") && !is_banned("h3", "0.1.0", "h2:<0.4"));
}

/// Adding a server edits no file: so no file lists them.
///
/// A file that names two servers holds a list, whether by package, by folder or by quoted name. Not
/// looked at: the servers' own folders, where each may name its neighbours; Markdown, whose tables
/// and examples are for people, and are spliced or checked by eye; Cargo.lock, which cargo writes;
/// recorded results.
#[test]
fn no_file_lists_the_servers() {
    let servers = servers();
    let mut faults = String::new();
    for path in tracked_files() {
        let of_a_server = servers.iter().any(|it| path.starts_with(it.folder_name()));
        let exempt =
            path.ends_with(".md") || path == "Cargo.lock" || path.starts_with("bench/results/");
        if of_a_server || exempt {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(workspace().join(&path)) else { continue };
        let named: Vec<_> =
            servers.iter().filter(|it| names(&text, it)).map(Package::short_name).collect();
        if named.len() > 1 {
            let _ = writeln!(faults, "{path} names {named:?}");
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

fn names(text: &str, server: &Package) -> bool {
    let short = server.short_name();
    let forms = [
        server.name.clone(),
        server.folder_name().to_owned(),
        format!("\"{short}\""),
        format!("'{short}'"),
    ];
    forms.iter().any(|form| text.contains(form.as_str()))
}

/// Compares what `extract` finds in each main.rs with what it finds in the first.
fn same_in_all(servers: &[Package], what: &str, extract: impl Fn(&str) -> Vec<String>) {
    let found: Vec<_> = servers.iter().map(|it| extract(&read(it, "src/main.rs"))).collect();
    assert!(!found[0].is_empty(), "no {what} in {}/src/main.rs", servers[0].folder_name());
    let mut faults = String::new();
    for (server, others) in servers.iter().zip(&found).skip(1) {
        if *others == found[0] {
            continue;
        }
        let (one, other) = (servers[0].folder_name(), server.folder_name());
        let same = found[0].iter().zip(others).take_while(|(a, b)| a == b).count();
        let _ = writeln!(
            faults,
            "number {}: {:?} in {one}, {:?} in {other} ({} and {} in all)",
            same + 1,
            found[0].get(same),
            others.get(same),
            found[0].len(),
            others.len()
        );
    }
    assert!(faults.is_empty(), "{what} of the servers' main.rs differ\n{faults}");
}

/// Comments that begin `// SSE:`, each with the lines that go on with it, in order.
fn sse_comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim) {
        let is_new = line.starts_with("// SSE:");
        // Another comment begins with a name: `// axum:`.
        let name = line.strip_prefix("// ").and_then(|it| it.split_once(':')).map(|it| it.0);
        let is_other = name.is_some_and(|it| it.bytes().all(|it| it.is_ascii_lowercase()));
        goes_on = is_new || (goes_on && line.starts_with("// ") && !is_other);
        match comments.last_mut() {
            _ if is_new => comments.push(line.to_owned()),
            Some(comment) if goes_on => *comment = format!("{comment} {}", &line[3..]),
            _ => {}
        }
    }
    comments
}

/// The names of functions at the left margin, in order.
fn top_level_functions(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let mut words = line.split(' ').skip_while(|it| {
            it.starts_with("pub") || ["async", "const", "extern", "\"C\""].contains(it)
        });
        let name = (words.next() == Some("fn")).then(|| words.next()).flatten()?;
        Some(name.split(['(', '<']).next().unwrap_or_default().to_owned())
    };
    text.lines().filter_map(name).collect()
}

fn servers() -> Vec<Package> {
    fleet::discover().expect("tests run inside the workspace")
}

fn metadata() -> &'static Metadata {
    static METADATA: LazyLock<Metadata> =
        LazyLock::new(|| fleet::metadata().expect("tests run inside the workspace"));
    &METADATA
}

/// Files under version control, and new ones that will be.
fn tracked_files() -> Vec<String> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let text = run(Command::new("git").args(args).current_dir(workspace()));
    let files: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    assert!(files.contains("Cargo.toml"), "git ls-files does not work here");
    files.into_iter().collect()
}

fn cargo(args: &[&str]) -> String {
    run(fleet::cargo().args(args).current_dir(workspace()))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
    String::from_utf8(output.stdout).expect("tools write UTF-8")
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench lies in the workspace")
}

/// For international readers: a subject is a noun, and a word is a plain one. Headings may ask.
#[test]
fn texts_are_plain_english() {
    let this_file = "bench/tests/workspace/tidy.rs";
    // Reports of past runs stay as they are.
    let reports = "bench/results/";
    let mut odd = Vec::new();
    for path in tracked_files() {
        let is_text = [".rs", ".mjs", ".py", ".sh", ".md", ".html", ".json", ".toml"]
            .iter()
            .any(|it| path.ends_with(it));
        if !is_text || path.starts_with(reports) || path == this_file {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(workspace().join(&path)) else { continue };
        let is_heading = |line: &str| path.ends_with(".md") && line.starts_with('#');
        let lines = (1..).zip(text.lines()).filter(|(_, line)| is_odd(line) && !is_heading(line));
        odd.extend(lines.map(|(number, line)| format!("{path}:{number}: {}", line.trim())));
    }
    let help = printed_help();
    let lines = (1..).zip(help.lines()).filter(|(_, line)| is_odd(line));
    odd.extend(lines.map(|(number, line)| format!("sse-bench man:{number}: {line}")));
    assert!(odd.is_empty(), "write it with a noun and a plain verb\n{}", odd.join("\n"));
}

/// Whether a line has a sentence without a subject, or an odd word. Questions may begin with What.
fn is_odd(line: &str) -> bool {
    // A string in code is a sentence too; a quotation in a comment stays as it is.
    let of_text = ['.', '!', '?', '|'].as_slice();
    let of_code = ['.', '!', '?', '|', '"'].as_slice();
    let is_comment = line.trim_start().starts_with("//");
    let mut begins = true;
    let has_no_subject =
        line.split_inclusive(if is_comment { of_text } else { of_code }).any(|sentence| {
            let words = sentence.trim_start_matches(|it: char| !it.is_alphanumeric());
            let first = words.split(|it: char| !it.is_alphanumeric()).next().unwrap_or_default();
            let is_first = begins || sentence.starts_with(' ');
            begins = sentence.ends_with('"');
            is_first && !sentence.ends_with('?') && NO_SUBJECT.contains(&first)
        });
    // A name in code, or a slug that never changes, is one word.
    let is_inside = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
    let words = line.split(|it| !is_inside(it)).filter(|it| !it.is_empty());
    let words = format!(" {} ", words.collect::<Vec<_>>().join(" ").to_lowercase());
    has_no_subject || ODD_WORDS.iter().any(|odd| words.contains(&format!(" {odd} ")))
}

/// The help of each subcommand, as manual pages.
fn printed_help() -> String {
    let folder = std::env::temp_dir().join(format!("sse-tidy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let mut man = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    run(man.args(["man", "--directory"]).arg(&folder));
    let pages = std::fs::read_dir(&folder).expect("the folder was made").flatten();
    let read = |page: std::fs::DirEntry| std::fs::read_to_string(page.path());
    let text: String = pages.map(|page| read(page).expect("a page is text")).collect();
    std::fs::remove_dir_all(&folder).expect("the folder is still there");
    assert!(text.contains("conform"), "sse-bench man wrote nothing");
    text
}

#[test]
fn odd_sentences_are_found() {
    let odd = [
        "/// What a case costs.",
        "    // It ends. Whoever reads has seen it.",
        "claim: \"Who does not read is slow.\",",
        "    \"It ends. What follows is lost.\"",
        "| S1.01 | INFO | What OPTIONS says. |",
        "a client is told of it, and nobody else",
        "how to mend it",
    ];
    assert!(odd.iter().all(|line| is_odd(line)), "{:?}", odd.map(is_odd));
    let plain = [
        "| `wire.rs` | What is said on the socket? |",
        "## What does it cost?",
        "/// Says what a case costs; `nobody_listens`, `S6.13-gap-is-told`.",
        "/// A client recommends it (\"What teachers should know\", 5.1).",
    ];
    assert!(!plain.iter().any(|line| is_odd(line)), "{:?}", plain.map(is_odd));
}

#[test]
fn comments_are_found_whole() {
    let text = "    // SSE: one\n    // (Two: three).\n    // axum: no\n    // nor this\n  x\n// SSE: four\n";
    assert_eq!(sse_comments(text), ["// SSE: one (Two: three).", "// SSE: four"]);
}

#[test]
fn functions_are_found_by_their_names() {
    let text = "fn main() {}\npub async fn a<T>(x: T) {}\n    fn inner() {}\n// fn no() {}\n\
                pub(crate) fn b(\n";
    assert_eq!(top_level_functions(text), ["main", "a", "b"]);
}
