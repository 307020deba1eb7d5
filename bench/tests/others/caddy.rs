//! Caddy before one of our servers: https with an authority of its own, HTTP/2, a redirection, a coding, a refusal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use fleet::{Program, Server, eventually};
use wire::{Connection, Dial, Log, Tls, Trust};

use crate::commands::{data, follow, judge, load, port};
use crate::servers::{self, installed};

/// Until it has made its keys and listens.
pub const READY: Duration = Duration::from_secs(60);
pub const LOOK: Duration = Duration::from_millis(20);
/// The last words of a Caddy that fails to start.
pub const WORDS_BYTES: usize = 4096;

const TICKS: &str = "/ticks?interval_ms=20";
/// Cases that judge the stream as it comes through, and take no minute.
const CASES: &str = "S1,S2.01,S2.02,S3.01,S3.13";

#[test]
fn https_is_judged_loaded_and_followed_with_its_authority_or_any() {
    let caddy = Caddy::shared();
    let url = caddy.url(TICKS);
    for trust in [&["--cacert", &caddy.cacert][..], &["--insecure"]] {
        let said = judge(&url, &[&["--only", CASES], trust].concat());
        assert_eq!(said.code, Some(0), "{}", said.all());
        for id in ["S1.01", "S1.02", "S1.04", "S1.10", "S2.01", "S2.02", "S3.01", "S3.13"] {
            assert!(said.verdicts("pass").contains(&id), "{id}: {}", said.all());
        }

        let ended = [&["--connections", "5", "--duration-s", "60", "--events", "50"], trust];
        let (code, report, words) = load(&url, &ended.concat());
        assert_eq!(code, 0, "{report} {words}");
        assert_eq!((&report["opened"], &report["ended_early"]), (&5.into(), &0.into()), "{report}");
        assert!(report["events"].as_u64() >= Some(50), "{report}");

        let (code, events, words) = follow(&url, &[&["--max-events", "3"], trust].concat());
        assert_eq!((code, events.len()), (0, 3), "{words}");
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_one_line_with_advice() {
    let url = Caddy::shared().url(TICKS);
    let said = judge(&url, &[]);
    let (load_code, _, load_words) = load(&url, &[]);
    let (follow_code, _, follow_words) = follow(&url, &["--once"]);
    assert_eq!((said.code, load_code, follow_code), (Some(2), 2, 2), "{}", said.all());
    for words in [&said.stderr, &load_words, &follow_words] {
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(words.contains("--cacert") && words.contains("--insecure"), "{words}");
    }
}

#[test]
fn a_redirection_is_followed_by_a_client_and_named_by_a_judge() {
    let caddy = Caddy::shared();
    let (url, cacert) = (caddy.url("/moved"), ["--cacert", caddy.cacert.as_str()]);
    let said = judge(&url, &cacert);
    assert_eq!(said.code, Some(2), "{}", said.all());
    assert!(said.stderr.contains(&format!("it redirects to {TICKS}")), "{}", said.all());

    let (code, _, words) = load(&url, &[&cacert[..], &["--connections", "2"]].concat());
    assert_eq!((code, words.contains("answered 307")), (2, true), "{words}");

    let (code, events, words) = follow(&url, &[&cacert[..], &["--max-events", "2"]].concat());
    assert_eq!((code, events.len()), (0, 2), "{words}");
}

#[test]
fn a_coded_stream_is_judged_by_its_text_and_never_counted_as_silence() {
    let caddy = Caddy::shared();
    let url = caddy.url(&format!("/coded{TICKS}"));
    let cacert = ["--cacert", caddy.cacert.as_str()];
    let said = judge(&url, &[&cacert[..], &["--only", CASES]].concat());
    assert_eq!(said.code, Some(0), "{}", said.all());
    assert!(said.verdicts("pass").contains(&"S1.09"), "{}", said.all());

    let coded = [&cacert[..], &["-H", "Accept-Encoding: gzip"]].concat();
    let (code, _, words) = load(&url, &[&coded[..], &["--connections", "2"]].concat());
    assert_eq!((code, words.contains("coded as gzip")), (2, true), "{words}");

    let (code, events, words) = follow(&url, &[&coded[..], &["--once"]].concat());
    assert_eq!((code, data(&events)), (2, vec![]), "{words}");
    assert!(words.contains("coded as gzip"), "{words}");
}

#[test]
fn a_refusal_is_named_with_its_status() {
    let caddy = Caddy::shared();
    let (url, cacert) = (caddy.url("/refused"), ["--cacert", caddy.cacert.as_str()]);
    let said = judge(&url, &cacert);
    assert_eq!(said.code, Some(2), "{}", said.all());
    assert!(said.stderr.contains("403") && said.stderr.contains("--header"), "{}", said.all());

    let (code, _, words) = load(&url, &[&cacert[..], &["--connections", "2"]].concat());
    assert_eq!((code, words.contains("answered 403")), (2, true), "{words}");

    let (code, events, words) = follow(&url, &cacert);
    assert_eq!((code, data(&events)), (2, vec![]), "{words}");
    assert!(words.contains("403"), "{words}");
}

pub struct Caddy {
    port: u16,
    /// The file of its authority.
    pub cacert: String,
    _program: Program,
    _origin: Server,
}

impl Caddy {
    /// One for all tests, killed when the process ends.
    pub fn shared() -> &'static Caddy {
        static CADDY: OnceLock<Caddy> = OnceLock::new();
        CADDY.get_or_init(Caddy::start)
    }

    fn start() -> Caddy {
        let origin = servers::start(&servers::packages()[0], &[]).unwrap();
        let (port, folder) = (port(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("caddy"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("Caddyfile");
        fs::write(&file, configuration(port, &folder, &origin.addr().to_string())).unwrap();
        let mut command = Command::new(installed("caddy", "bin"));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file);
        // It keeps nothing elsewhere.
        command.envs(["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].map(|it| (it, &folder)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let mut program = program.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let words = program.stderr(WORDS_BYTES).unwrap();
        let tls = Tls::new("localhost", &Trust { insecure: true, ..Trust::default() }).unwrap();
        let address = format!("localhost:{port}");
        let ready = eventually(READY, LOOK, || {
            let dial = Dial { address: &address, tls: Some(&tls), receive_buffer: None };
            Connection::dial(dial, READY, &Log::new())
        });
        ready.unwrap_or_else(|error| panic!("{error}\n{}", words.text()));
        let cacert = folder.join("pki/authorities/local/root.crt");
        Caddy {
            port,
            cacert: cacert.to_str().unwrap().to_owned(),
            _program: program,
            _origin: origin,
        }
    }

    pub fn url(&self, target: &str) -> String {
        format!("https://localhost:{}{target}", self.port)
    }
}

fn configuration(port: u16, folder: &Path, origin: &str) -> String {
    let folder = folder.display();
    format!(
        "{{
            admin off
            skip_install_trust
            auto_https disable_redirects
            default_bind 127.0.0.1
            storage file_system {folder}
            log {{
                level ERROR
            }}
            servers {{
                protocols h1 h2
            }}
        }}
        localhost:{port} {{
            tls internal
            redir /moved {TICKS} 307
            respond /refused 403
            handle_path /coded/* {{
                encode {{
                    gzip
                    minimum_length 1
                }}
                reverse_proxy {origin}
            }}
            reverse_proxy {origin}
        }}
        "
    )
}
