//! The site of what is kept: whole, small, and without a word to any other host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

/// All pages together are small enough for any host, and for a clone beside the results.
const SITE_BYTES: usize = 3 * 1024 * 1024;

fn make(out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .args(["site", "--out"])
        .arg(out)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

/// Each file of the site by its address.
static SITE: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("site");
    let made = make(&out);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut files = BTreeMap::new();
    read(&out, &out, &mut files);
    files
});

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else {
            let address = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(address, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The values of this attribute.
fn values<'t>(text: &'t str, attribute: &str) -> Vec<&'t str> {
    let marker = format!(" {attribute}=\"");
    text.split(marker.as_str()).skip(1).map(|it| it.split('"').next().unwrap()).collect()
}

fn pages() -> impl Iterator<Item = (&'static String, &'static String)> {
    SITE.iter().filter(|it| it.0.ends_with(".html"))
}

#[test]
fn every_link_leads_to_a_page_and_a_place_on_it() {
    let ids: BTreeMap<&str, BTreeSet<&str>> = pages()
        .map(|(path, text)| (path.as_str(), values(text, "id").into_iter().collect()))
        .collect();
    let mut links = 0;
    for (path, text) in pages() {
        assert_eq!(values(text, "id").len(), ids[path.as_str()].len(), "{path} gives an id twice");
        for target in values(text, "href").into_iter().chain(values(text, "src")) {
            if target.starts_with("https://") || target.starts_with("http://") || target == "data:,"
            {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if file.is_empty() { path.clone() } else { joined(path, file) };
            assert!(SITE.contains_key(&place), "{path}: {target}");
            let has_it = anchor.is_empty() || ids[place.as_str()].contains(anchor);
            assert!(has_it, "{path}: {target} has no such place");
            links += 1;
        }
    }
    assert!(links > 5000, "{links}");
}

/// The address that a link of this page has from the root of the site.
fn joined(page: &str, link: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in link.split('/') {
        if part == ".." {
            assert!(path.pop(), "{page}: {link} leads out of the site");
        } else {
            path.push(part);
        }
    }
    path.to_str().unwrap().to_owned()
}

#[test]
fn nothing_is_asked_of_another_host_and_all_is_small() {
    for (path, text) in SITE.iter() {
        let has_sources =
            text.contains("src=\"http") || text.contains("<link rel=\"stylesheet\" href=\"http");
        let is_loud = ["url(", "@import", "fetch("]
            .iter()
            .any(|it| path.ends_with("css") && text.contains(it));
        assert!(!has_sources && !is_loud, "{path}");
    }
    let bytes: usize = SITE.values().map(String::len).sum();
    assert!(bytes < SITE_BYTES, "{bytes} bytes in {} files", SITE.len());
}

#[test]
fn each_case_and_each_program_has_its_page() {
    let list =
        Command::new(env!("CARGO_BIN_EXE_sse-bench")).args(["list", "cases", "--json"]).output();
    let catalogue: Value = serde_json::from_slice(&list.unwrap().stdout).unwrap();
    for case in catalogue["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let page = &SITE[&format!("case/{id}.html")];
        assert!(
            page.contains("How to fix it") && page.contains(case["slug"].as_str().unwrap()),
            "{id}"
        );
        for rule in case["rules"].as_array().unwrap() {
            assert!(page.contains(&format!("rule {}<", rule.as_str().unwrap())), "{id}: {rule}");
        }
    }
    for (side, folder) in [("server", "servers"), ("client", "clients")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().replace('.', "-");
            if path.join(format!("{side}.toml")).exists() {
                let page = &SITE[&format!("{side}/{name}.html")];
                // The adapter of our own client is an example of its crate.
                assert!(page.contains("<h2>Program</h2>") || name == "sse", "{name}");
            }
        }
    }
}

/// One that fails has its bytes on the page of its case, what was expected, and a way to see it again.
#[test]
fn a_failure_is_shown_with_its_bytes() {
    let matrix = &SITE["servers.html"];
    let failed = matrix.split("<a class=\"v fail").nth(1).expect("some server fails some case");
    let target = values(failed, "href")[0];
    let (page, anchor) = target.split_once('#').unwrap();
    let page = &SITE[page];
    assert!(
        page.contains("Bytes of one that fails") && page.contains("<dt>expected</dt>"),
        "{target}"
    );
    assert!(page.contains(&format!("id=\"{anchor}\"")), "{target}");
}

/// A reader who comes from a search engine finds the way, and tells one page from another.
#[test]
fn each_page_has_the_menu_and_a_title_of_its_own() {
    let mut titles = BTreeSet::new();
    for (path, text) in pages() {
        assert!(text.contains("<nav aria-label=\"Pages\">"), "{path}");
        let title = text.split("<title>").nth(1).unwrap().split('<').next().unwrap();
        assert!(titles.insert(title), "{path}: {title}");
    }
    for page in ["figures.html", "scaling.html"] {
        assert!(SITE[page].contains(&format!("href=\"{page}\" aria-current=\"page\"")), "{page}");
    }
}

/// Two measurements of a day differ in their hosts.
#[test]
fn a_row_of_costs_is_there_once() {
    let mut rows = 0;
    for (path, text) in pages().filter(|it| it.0.starts_with("server/")) {
        let Some((_, costs)) = text.split_once("<h2>Cost</h2>") else { continue };
        let body = costs.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
        let mut seen = BTreeSet::new();
        for row in body.split("</tr>").filter(|it| it.contains("<td")) {
            let lead: Vec<&str> = row.split("</t").take(3).collect();
            assert!(seen.insert(lead.clone()), "{path}: {lead:?}");
            rows += 1;
        }
    }
    assert!(rows > 20, "{rows}");
}

#[test]
fn the_start_page_says_what_readme_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let [readme, start] = [&readme, &SITE["index.html"]]
        .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    let both = [
        "It takes one to two minutes, more where the host is busy or",
        "of two reports of one host, multiples of the floor do",
    ];
    for words in both {
        assert!(readme.contains(words) && start.contains(words), "{words}");
    }
    assert!(start.contains("(MUST), none of MUST*."));
    // A badge is about the stream, so that a failure of HTTP stands beside it.
    assert!(start.contains("those of the HTTP below do not count there"));
}

#[test]
fn findings_lead_to_the_matrix_of_their_side() {
    assert!(SITE["findings.html"].contains("<a href=\"servers.html\">matrix</a>"));
}

#[test]
fn badges_are_as_shields_reads_them_and_name_their_set() {
    let badges: Vec<_> = SITE.iter().filter(|it| it.0.starts_with("badge/")).collect();
    assert!(badges.len() > 30, "{}", badges.len());
    for (path, text) in badges {
        let badge: Value = serde_json::from_str(text).unwrap();
        assert_eq!(badge["schemaVersion"], 1, "{path}");
        let message = badge["message"].as_str().unwrap();
        let words = ["passes 20", "fails ", "not judged, 20"];
        assert!(words.iter().any(|it| message.starts_with(it)), "{path}: {message}");
        if let Some((_, date)) = path.trim_end_matches(".json").split_once("-20") {
            assert!(message.ends_with(&format!("20{date}")), "{path}: {message}");
        }
    }
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-site");
    std::fs::create_dir_all(folder.join("case")).unwrap();
    std::fs::write(folder.join("case/mine.txt"), "mine").unwrap();
    let made = make(&folder);
    let words = String::from_utf8(made.stderr).unwrap();
    assert_eq!((made.status.code(), words.lines().count()), (Some(2), 1), "{words}");
    assert!(words.contains("choose a new folder"), "{words}");
    assert_eq!(std::fs::read_to_string(folder.join("case/mine.txt")).unwrap(), "mine");
}
