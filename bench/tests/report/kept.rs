//! The results that are kept are rendered as the present code renders them, from their JSON.

use std::path::{Path, PathBuf};

use bench::report::{self, Report};
use conform::report::Document;

/// Set, it has the test write the renderings that it would else compare.
const UPDATE: &str = "SSE_UPDATE_RESULTS";

/// Every folder of results.
fn folders() -> Vec<PathBuf> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let entries = std::fs::read_dir(results).unwrap().map(|it| it.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|it| it.is_dir()).collect();
    folders.sort();
    folders
}

/// The renderings beside the data of a folder: paths and texts.
fn renderings(folder: &Path) -> Vec<(PathBuf, String)> {
    if folder.join("report.json").exists() {
        let mut report = Report::load(folder).unwrap();
        report.summarise();
        let files = [
            ("report.html", report::html(&report, folder)),
            ("report.md", report::markdown(&report)),
        ];
        return files.map(|(name, text)| (folder.join(name), text)).into();
    }
    if !folder.join("matrix.html").exists() {
        return Vec::new();
    }
    let files = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    let document = Document::read(&files).unwrap();
    let texts = [
        ("matrix.html", conform::report::html(&document)),
        ("README.md", conform::report::markdown(&document)),
    ];
    texts.map(|(name, text)| (folder.join(name), text)).into()
}

#[test]
fn what_is_kept_is_rendered_as_today() {
    let kept: Vec<(PathBuf, String)> = folders().iter().flat_map(|it| renderings(it)).collect();
    assert!(kept.len() >= 10, "{} renderings", kept.len());
    for (path, text) in kept {
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let is_today = std::fs::read_to_string(&path).unwrap() == text;
        let command = format!("{UPDATE}=1 cargo test -p sse-bench --test report kept");
        assert!(is_today, "{} is of another day; write it: {command}", path.display());
    }
}

#[test]
fn a_report_is_rendered_again_and_its_data_is_left_alone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("again");
    std::fs::create_dir_all(&folder).unwrap();
    let kept = folders().into_iter().rev().find(|it| it.join("report.json").exists()).unwrap();
    // Data of another day: what today's code would write differs from it in its last byte.
    let data = std::fs::read_to_string(kept.join("report.json")).unwrap() + "\n";
    std::fs::write(folder.join("report.json"), &data).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sse-bench"))
        .arg("report")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(folder.join("report.json")).unwrap() == data);
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.json", "report.md"]);
}
