//! A report of another version is refused in one line: its numbers may mean something else.

use std::process::Command;

use bench::report::SCHEMA;

#[test]
fn another_version_is_one_line_that_names_both() {
    let folder = std::env::temp_dir().join(format!("sse-bench-version-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for version in [SCHEMA - 1, SCHEMA + 1] {
        let json = format!("{{\n\"schema\": {version},\n\"rows\": []\n}}\n");
        std::fs::write(folder.join("report.json"), json).unwrap();
        for args in [vec!["report"], vec!["compare", folder.to_str().unwrap()]] {
            let output = Command::new(env!("CARGO_BIN_EXE_sse-bench"))
                .args(&args)
                .arg(&folder)
                .output()
                .unwrap();
            let words = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), words.lines().count()), (Some(2), 1), "{words}");
            let both = format!("has schema {version} and this sse-bench reads schema {SCHEMA}; ");
            assert!(words.contains(&both), "{words}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
