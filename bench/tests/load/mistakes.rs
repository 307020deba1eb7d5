//! A mistake that is easily made, and the one line that is said of it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

/// A server that answers everything with these bytes.
fn answers(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // An answer before the request could be lost in a reset.
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(bytes);
        }
    });
    address.to_string()
}

/// A server that closes each connection once something came, in order or with a reset.
fn closes(with_reset: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // Bytes that were not read turn the close into a reset.
            let _ = socket.read(&mut [0; 4096][..if with_reset { 1 } else { 4096 }]);
        }
    });
    address.to_string()
}

#[test]
fn each_says_what_to_do() {
    // An alert, as a server with TLS answers to plain text; and a server without TLS.
    let secure = answers(b"\x15\x03\x01\0\x02\x02\x46");
    let plain = answers(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // A server with TLS that sends no alert, and one without that goes at once.
    let [silent, gone] = [false, true].map(closes);
    let refuses = answers(
        b"HTTP/1.1 400 X\r\nContent-Type: application/problem+json\r\nConnection: close\r\n\r\n\
          {\"title\":\"Bad Request\",\"detail\":\"interval_ms must be a number\"}",
    );
    let refuses = format!("http://{refuses}/x");
    let (http, https) = (format!("http://{secure}/x"), format!("https://{plain}/x"));
    let (http_silent, https_gone) = (format!("http://{silent}/x"), format!("https://{gone}/x"));
    let table: &[(&[&str], &str)] = &[
        (
            &["conform", "server", "127.0.0.1:8003/ticks"],
            "write http://127.0.0.1:8003/ticks: a URL begins with its scheme",
        ),
        (&["conform", "server", "localhost:8003"], "write http://localhost:8003"),
        (&["conform", "server", "./nofolder"], "there is no folder ./nofolder with a server.toml"),
        (&["conform", "server", "nginx"], "neither a URL (http://\u{2026}) nor a known name"),
        (&["conform", "server", "ws://127.0.0.1/x"], "is no http:// or https:// URL"),
        (&["conform", "server", &http], "speaks TLS on this port; try https://"),
        (&["conform", "server", &https], "it does not speak TLS on this port; try http://"),
        (&["conform", "client", "--cmd", "no-such-client"], "no-such-client: command not found"),
        (&["conform", "client", "--cmd", "no-such-client"], "as in --cmd ./my-client"),
        (&["conform", "client", "--cmd", "/etc"], "chmod +x"),
        (&["conform", "client", "nginx"], "nginx"),
        (&["conform", "server", "axm"], "there is no server \"axm\" (did you mean axum?); choose"),
        (&["conform", "server", "node-expres"], "(did you mean node-express?)"),
        (&["conform", "client", "undicci"], "(did you mean undici?)"),
        (&["conform", "server", "--explain", "early-haed"], "(did you mean early-head?)"),
        (&["conform", "client", "--explain", "C99.01"], "(did you mean C9.01"),
        (&["conform", "server", "--explain", "A12d"], "(a rule; its cases: S6.04, S6.08, S11.06)"),
        (&["run", "--workloads", "fire-hose"], "(did you mean firehose?)"),
        (
            &["load", "--unchecked", "127.0.0.1:8003/ticks"],
            "write http://127.0.0.1:8003/ticks: a URL begins with its scheme",
        ),
        (
            &["load", "--unchecked", "--connections", "1", &http],
            "speaks TLS on this port; try https://",
        ),
        (
            &["load", "--unchecked", "--connections", "1", &https],
            "it does not speak TLS on this port; try http://",
        ),
        (&["conform", "server", &http_silent], "if it speaks TLS, try https://"),
        (&["conform", "server", &https_gone], "if it does not speak TLS on this port, try http://"),
        (
            &["load", "--unchecked", "--connections", "8", &http_silent],
            "before a response head; if it speaks TLS, try https://",
        ),
        (
            &["load", "--unchecked", "--connections", "8", &https_gone],
            "if it does not speak TLS on this port, try http://",
        ),
        (
            &["conform", "server", &refuses],
            "is no event stream (400 Bad Request: interval_ms must be a number); give",
        ),
        (
            &["load", "--unchecked", "--connections", "1", &refuses],
            "answered 400 Bad Request: interval_ms must be a number; is it",
        ),
        (&["report", "/nowhere"], "give the folder that a run wrote"),
        (&["run", "--profile", "fast"], "choose quick, standard, full"),
    ];
    for (arguments, advice) in table {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sse-bench"));
        let output = command.args(*arguments).stdin(Stdio::null()).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let last = words.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(last.starts_with("sse-bench: ") && last.contains(advice), "{arguments:?}: {words}");
    }
}
