//! The commands outside a clone: any server by its URL, and one line with advice where a command
//! needs the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::chat::{BODY, Chat, TOKEN};
use crate::servers::workspace;

#[test]
fn installed_commands_judge_load_and_follow_any_server_in_an_empty_folder() {
    let folder = empty("any-server");
    let chat = Chat::start();
    let url = chat.url();
    let asked = ["-d", BODY, "-H", TOKEN, url.as_str()];
    let commands: [(&str, &[&str], &str); 3] = [
        ("sse-bench", &["conform", "server", "--only", "S1,S9.23"], "your stream (SSE)"),
        ("sse-bench", &["load", "--unchecked", "--requests", "3", "--connections", "1"], "3 whole"),
        ("sse", &["tail", "--until", "[DONE]"], "{\"delta\":\"4\"}"),
    ];
    for (program, arguments, shown) in commands {
        let output = run(program, &[arguments, &asked].concat(), &folder);
        assert_eq!(output.status.code(), Some(0), "{program} {arguments:?}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(shown), "{program} {arguments:?}: {text}");
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert!(left.is_empty(), "without a failure nothing is written: {left:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_command_that_needs_the_repository_says_so_in_one_line() {
    let nowhere = empty("nowhere");
    // A project of its user, without a lock file.
    let project = empty("project");
    std::fs::create_dir(project.join("src")).unwrap();
    std::fs::write(project.join("src/lib.rs"), "").unwrap();
    std::fs::write(project.join("Cargo.toml"), "[package]\nname = \"theirs\"\n").unwrap();
    let commands: [&[&str]; 6] = [
        &["conform", "server", "axum"],
        &["conform", "server", "all"],
        &["list", "servers"],
        &["attack", "axum"],
        &["run"],
        &[],
    ];
    for folder in [&nowhere, &project] {
        for arguments in commands {
            says(&run("sse-bench", arguments, folder), "run it in a clone");
        }
    }
    // A machine without Rust.
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
    command.args(["conform", "server", "axum"]).current_dir(&nowhere);
    let output = command.env_remove("CARGO").env("PATH", &nowhere).output().unwrap();
    says(&output, "or give the URL of any server");
    for folder in [nowhere, project] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[track_caller]
fn says(output: &Output, advice: &str) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), words.lines().count()), (Some(2), 1), "{output:?}");
    assert!(words.contains(advice), "{words}");
}

/// A folder in no workspace.
fn empty(name: &str) -> PathBuf {
    let name = format!("sse-elsewhere-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(installed().join(program));
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// Where `cargo install --path` has put the commands: debug builds, which `./test.sh` has made already.
///
/// `./test.sh` has installed them, too, and says where in `SSE_INSTALLED`, the folder of its `--root`: installing
/// builds in this workspace, and exchanges the programs that other tests run meanwhile.
pub fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(root) = std::env::var_os("SSE_INSTALLED") {
            let folder = PathBuf::from(root).join("bin");
            assert!(folder.is_dir(), "SSE_INSTALLED: no folder {}", folder.display());
            return folder;
        }
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
        for package in ["bench", "client"] {
            let mut install = fleet::cargo();
            install.args(["install", "--quiet", "--debug", "--locked", "--offline", "--force"]);
            install.arg("--path").arg(workspace().join(package)).arg("--root").arg(&root);
            let output = install.output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{install:?}: {words}");
        }
        root.join("bin")
    })
}
