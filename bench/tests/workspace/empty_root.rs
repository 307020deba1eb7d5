//! The static programs in a root that holds nothing else: no library, no shell, no resolver, no authorities.
//!
//! `./static.sh` makes them, in minutes; so this is run by hand: CONTRIBUTING.md has the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wire::peer::Authority;

use crate::chat::{BODY, Chat, PATH, TOKEN};
use crate::servers::workspace;

/// A name that only `/etc/hosts` of the empty root knows.
const NAME: &str = "stream.test";

#[test]
#[ignore = "needs ./static.sh"]
fn a_name_is_resolved_with_etc_hosts_alone() {
    let (root, chat) = (Root::new("name"), Chat::start());
    root.serves(&format!("http://{NAME}:{}{PATH}", chat.address.port()), &[]);
    for program in ["sse", "sse-bench"] {
        let output = root.run(program, &["--version"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
#[ignore = "needs ./static.sh"]
fn https_works_with_an_authority_that_is_given() {
    let (root, chat, authority) = (Root::new("https"), Chat::start(), Authority::new());
    authority.save(&root.0.join("authority.pem"));
    let port = authority.relay(&[NAME], chat.address).port();
    let url = format!("https://{NAME}:{port}{PATH}");
    root.serves(&url, &["--cacert", "/authority.pem"]);
    root.serves(&url, &["--insecure"]);
    for output in root.asks(&url, &[]) {
        refused(&output, &["no authority that is trusted here", "UnknownIssuer"]);
    }
}

/// No key of a real authority is to be had. A false one of the same name is refused for its signature,
/// and that takes the real one's key: it is in the program.
#[test]
#[ignore = "needs ./static.sh"]
fn without_authorities_of_the_system_those_of_mozilla_are_trusted() {
    let (root, chat) = (Root::new("bundled"), Chat::start());
    let port = Authority::impostor().relay(&[NAME], chat.address).port();
    for output in root.asks(&format!("https://{NAME}:{port}{PATH}"), &[]) {
        refused(&output, &["BadSignature"]);
    }
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(words.iter().any(|it| said.contains(it)), "{words:?}: {said}");
}

/// A folder that becomes the root of a process.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let folder = std::env::temp_dir().join(format!("sse-root-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/hosts"), format!("127.0.0.1 {NAME}\n")).unwrap();
        for program in ["sse-bench", "sse"] {
            let from = programs().join(program);
            let copied = fs::copy(&from, folder.join(program));
            let shown = from.display();
            copied.unwrap_or_else(|error| panic!("{shown}: {error}; ./static.sh makes it"));
        }
        Root(folder)
    }

    /// The server of this URL is judged, loaded and followed.
    #[track_caller]
    fn serves(&self, url: &str, trust: &[&str]) {
        for output in self.asks(url, trust) {
            assert_eq!(output.status.code(), Some(0), "{url} {trust:?}: {output:?}");
        }
    }

    fn asks(&self, url: &str, trust: &[&str]) -> [Output; 3] {
        let asked = [&["-d", BODY, "-H", TOKEN, url], trust].concat();
        let run = |program, arguments: &[&str]| self.run(program, &[arguments, &asked].concat());
        [
            run("sse-bench", &["conform", "server", "--only", "S1,S9.23"]),
            run("sse-bench", &["load", "--unchecked", "--requests", "3", "--connections", "1"]),
            run("sse", &["tail", "--until", "[DONE]"]),
        ]
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--root"]).arg(&self.0);
        unshare.arg(format!("/{program}")).args(arguments).env_clear();
        // For unshare itself.
        unshare.env("PATH", std::env::var_os("PATH").unwrap());
        unshare.output().unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `SSE_STATIC`, or where `./static.sh` puts them.
fn programs() -> PathBuf {
    let folder = std::env::var_os("SSE_STATIC").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(workspace()).join("target/static"))
}
