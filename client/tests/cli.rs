//! The `sse` command, as a process, against a scripted peer.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod peer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use peer::{Answer, DEADLINE, Peer, Port, held, raw, status, stream};

fn sse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse"));
    command.args(arguments).env_remove("SSE_PUBLISH_TOKEN");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the end; a process that does not end is killed and fails the test.
fn finish(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("still running: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = finish(sse(arguments).spawn().unwrap());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Code 2, nothing on standard output, and one line that ends in this advice.
fn assert_fails(arguments: &[&str], what: &str, advice: &str) {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(what), "{stderr}");
    assert!(stderr.trim_end().ends_with(advice), "{stderr}");
}

/// Lines without the time in front.
fn without_time(stdout: &str) -> Vec<&str> {
    stdout.lines().map(|line| line.get("12:34:56.789  ".len()..).unwrap()).collect()
}

#[test]
fn tail_shows_events_in_columns_and_the_connection_on_stderr() {
    let body =
        "retry: 50\nid: 1\ndata: a\n\n:ping\n\nevent: add\nid: 2\ndata: two\ndata: lines\n\n";
    let peer = Peer::start([stream(body)]);
    let (code, stdout, stderr) = run(&["tail", &peer.url("/x")]);
    assert_eq!(code, 0, "{stderr}");
    let expected = ["1     message  a", "2     add      two", "               lines"];
    assert_eq!(without_time(&stdout), expected);
    let notices: Vec<_> = stderr.lines().collect();
    let url = peer.url("/x");
    assert_eq!(
        notices,
        [
            &format!("sse: reading {url} (HTTP/1.1)"),
            "sse: the server ended the stream; trying again in 0.1 s",
            "sse: the server has nothing more (204)",
        ]
    );
    assert!(!stdout.contains('\x1b') && !stderr.contains('\x1b'), "no colour in a pipe");
}

#[test]
fn tail_shows_only_the_types_that_are_asked_for() {
    let body = "data: a\n\nevent: add\ndata: b\n\nevent: end\ndata: c\n\nevent: add\ndata: d\n\n";
    let peer = Peer::start([held(body)]);
    let types = ["--event", "add", "--event", "end"];
    let url = peer.url("/");
    let (code, stdout, _) = run(&[&["tail", "--max-events", "2", &url][..], &types].concat());
    assert_eq!(code, 0);
    assert_eq!(without_time(&stdout), ["      add      b", "      end      c"]);
}

#[test]
fn tail_raw_prints_the_bytes_of_one_connection() {
    let body = ":hi\r\nid: 1\ndata: a\n\ndata: cut of";
    let peer = Peer::start([stream(body)]);
    let (code, stdout, _) = run(&["tail", "--raw", "--last-event-id", "7", &peer.url("/")]);
    assert_eq!((code, stdout.as_str()), (0, body));
    assert_eq!(peer.request().field("last-event-id").unwrap(), b"7");
    assert!(peer.request_so_far().is_none());
    let peer = Peer::start([status("404 Not Found", "")]);
    assert_fails(&["tail", "--raw", &peer.url("/")], "404", "check the path");
    let silent = Peer::start([held("data: a\n\n")]);
    let (code, stdout, _) = run(&["tail", "--raw", "--read-timeout-ms", "50", &silent.url("/")]);
    assert_eq!((code, stdout.as_str()), (2, "data: a\n\n"));
}

#[test]
fn every_subcommand_has_help_with_examples_a_manual_page_and_completions() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.map_while(|line| line.split_whitespace().next());
    let commands: Vec<_> = commands.filter(|name| *name != "help").collect();
    assert!(commands.len() >= 5, "{help}");
    let (_, bash, _) = run(&["completions", "bash"]);
    let directory = man_directory();
    let (code, _, stderr) = run(&["man", "--directory", directory.to_str().unwrap()]);
    assert_eq!(code, 0, "{stderr}");
    for command in &commands {
        let (_, help, _) = run(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}: {help}");
        assert!(bash.contains(&format!("sse,{command})")), "{command}");
        let page = std::fs::read_to_string(directory.join(format!("sse-{command}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{page}");
    }
    std::fs::remove_dir_all(directory).unwrap();
    for shell in ["zsh", "fish"] {
        assert!(run(&["completions", shell]).1.contains("sse"));
    }
    assert!(run(&["man"]).1.starts_with(".ie"));
    assert_eq!(run(&["--version"]).1, concat!("sse ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// A directory of this test process alone.
fn man_directory() -> std::path::PathBuf {
    let name = format!("man-{}", std::process::id());
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn demo_says_in_one_line_what_it_needs() {
    assert_fails(&["demo", "nginx"], "\"nginx\"", &known_servers());
    let known = known_servers();
    assert_fails(&["demo", known.split(", ").next().unwrap()], "terminal", "use sse tail");
}

/// As the command itself lists them: no list of servers is written down.
fn known_servers() -> String {
    let (_, _, stderr) = run(&["demo", "nginx"]);
    stderr.trim_end().rsplit_once("one of: ").unwrap().1.to_owned()
}

#[test]
fn tail_follows_the_server_across_a_restart_without_loss_or_repetition() {
    let port = Port::new();
    let listener = port.listen();
    // The first server says two events and is gone, port and all.
    let first = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        drop(listener);
        let mut head = [0; 1024];
        assert!(socket.read(&mut head).unwrap() > 0);
        let body = "retry: 50\nid: 1\ndata: one\n\nid: 2\ndata: two\n\nid: 3\ndata: cut of";
        socket.write_all((peer::HEAD.to_owned() + body).as_bytes()).unwrap();
    });
    let mut child = sse(&["tail", "--json", "--max-events", "4", &port.url()]).spawn().unwrap();
    first.join().unwrap();
    // It has seen that the port is closed before the second server opens it.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut notices = String::new();
    while !notices.contains("refused") {
        assert!(stderr.read_line(&mut notices).unwrap() > 0, "{notices}");
    }
    let second = Peer::serve(
        port.listen(),
        [stream("id: 3\ndata: three\n\nid: 4\ndata: four\n\nid: 5\ndata: five\n\n")],
    );
    assert_eq!(second.request().field("last-event-id").unwrap(), b"2");
    let output = finish(child);
    assert!(output.status.success());
    let data: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["data"].clone())
        .collect();
    assert_eq!(data, ["one", "two", "three", "four"]);
}

#[test]
fn tail_resumes_from_the_id_it_is_given_and_sends_headers() {
    let peer = Peer::start([]);
    let (code, ..) = run(&["tail", "--last-event-id", "41", "-H", "X-Test: a:b", &peer.url("/")]);
    assert_eq!(code, 0);
    let request = peer.request();
    assert_eq!(request.field("last-event-id").unwrap(), b"41");
    assert_eq!(request.field("x-test").unwrap(), b"a:b");
}

#[test]
fn tail_flushes_each_event() {
    let peer = Peer::start([held("data: a\n\n")]);
    let mut child = sse(&["tail", &peer.url("/")]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(without_time(&line), ["      message  a"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn tail_ends_quietly_when_its_reader_has_gone() {
    let flood: Answer = Box::new(|socket| {
        let _ = socket.write_all(peer::HEAD.as_bytes());
        while socket.write_all(b"data: a\n\n").is_ok() {}
    });
    let peer = Peer::start([flood]);
    let mut child = sse(&["tail", &peer.url("/")]).spawn().unwrap();
    drop(child.stdout.take());
    let output = finish(child);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
}

#[test]
fn tail_says_what_to_do_and_ends_with_2() {
    let port = Port::new();
    let url = port.url();
    assert_fails(&["tail", &url], "refused", "is the server running, and at this address?");
    assert_fails(&["tail", "/ticks"], "/ticks", "as in http://127.0.0.1:8003/ticks");
    let peer = Peer::start([
        raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>"),
        status("404 Not Found", ""),
        status("503 X", ""),
    ]);
    assert_fails(&["tail", &peer.url("/")], "text/html", "or look at it with curl -i");
    assert_fails(&["tail", &peer.url("/")], "404 Not Found", "check the path");
    assert_fails(&["tail", &peer.url("/")], "503", "or wait with --retry-unavailable");
    let (code, _, stderr) = run(&["tail", "--max-events", "0", &url]);
    assert_eq!((code, stderr.contains("--max-events")), (2, true));
}

/// A server that answers everything with these bytes.
fn answers(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // An answer before the request could be lost in a reset.
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(bytes);
        }
    });
    address
}

/// A mistake that is easily made, and the end of the one line that is said of it.
#[test]
fn a_mistake_is_answered_with_what_to_do() {
    // An alert, as a server with TLS answers to plain text; and a server without TLS.
    let secure_url = format!("http://{}/ticks", answers(b"\x15\x03\x01\0\x02\x02\x46"));
    let plain = answers(b"HTTP/1.1 400 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let plain_url = format!("https://{plain}/ticks");
    // One with TLS that sends no alert.
    let silent_url = format!("http://{}/ticks", answers(b""));
    let table: &[(&[&str], &str)] = &[
        (
            &["tail", "127.0.0.1:8003/ticks"],
            "begins with its scheme; write http://127.0.0.1:8003/ticks",
        ),
        (
            &["tail", "localhost:8003/ticks"],
            "begins with its scheme; write http://localhost:8003/ticks",
        ),
        (&["tail", "--raw", "[::1]:1/x"], "begins with its scheme; write http://[::1]:1/x"),
        (&["send", "localhost:8003/messages/a", "x"], "write http://localhost:8003/messages/a"),
        (
            &["tail", "ws://127.0.0.1/x"],
            "its scheme is ws; give it whole, as in http://127.0.0.1:8003/ticks",
        ),
        (&["tail", &secure_url], "if it speaks TLS, try https://"),
        (&["tail", "--raw", &secure_url], "if it speaks TLS, try https://"),
        (&["tail", &silent_url], "if it speaks TLS, try https://"),
        (&["tail", "--insecure", &plain_url], "it does not speak TLS on this port; try http://"),
        (&["send", &plain_url, "x"], "it does not speak TLS on this port; try http://"),
    ];
    for (arguments, advice) in table {
        assert_fails(arguments, "", advice);
    }
    // Without a name it starts one, and names the others.
    let (code, _, stderr) = run(&["demo"]);
    assert_eq!(code, 2, "{stderr}");
    for word in known_servers().split(", ").chain(["starting axum", "--all", "needs a terminal"]) {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

#[test]
fn tail_shows_the_words_of_a_refusal_and_names_a_coding() {
    let words = "{\"error\":\n {\"message\":\"No auth\u{9b} credentials found\"}}";
    let refused = || {
        let length = words.len();
        raw(format!(
            "HTTP/1.1 401 X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{words}"
        ))
    };
    let coded = || raw(peer::HEAD.replacen("\r\n", "\r\nContent-Encoding: gzip\r\n", 1) + "\x1f");
    let peer = Peer::start([refused(), refused(), coded(), coded()]);
    let url = peer.url("/");
    let shown =
        "401 Unauthorized: {\"error\": {\"message\":\"No auth\u{fffd} credentials found\"}}; ";
    for arguments in [&["tail", &url][..], &["tail", "--raw", &url]] {
        assert_fails(arguments, shown, "'Authorization: Bearer …'");
    }
    assert_fails(&["tail", &url], "coded as gzip", "or a proxy on the way");
    let (code, stdout, stderr) = run(&["tail", "--raw", &url]);
    assert_eq!((code, stdout.as_str()), (0, "\x1f"));
    assert!(stderr.contains("coded as gzip"), "{stderr}");
    for _ in 0..4 {
        assert_eq!(peer.request().field("accept-encoding").unwrap(), b"identity");
    }
}

#[test]
fn tail_says_a_problem_as_a_sentence() {
    let problem =
        r#"{"title":"Bad Request","status":400,"detail":"id must be a number","value":"x"}"#;
    let refused = format!(
        "HTTP/1.1 400 X\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{problem}",
        problem.len()
    );
    let peer = Peer::start([raw(refused)]);
    let url = peer.url("/ticks");
    let words = format!("sse: {url} answered 400 Bad Request: id must be a number; ");
    assert_fails(&["tail", &url], &words, "check the query and the last event id");
}

#[test]
fn tail_says_that_it_waits_for_an_answer() {
    let mute = || -> Answer { Box::new(|socket| drop(socket.read(&mut [0; 1]))) };
    let peer = Peer::start([mute(), mute(), stream("retry: 0\n\n"), mute()]);
    let url = peer.url("/");
    let next_line = |stderr: &mut BufReader<ChildStderr>| {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        line
    };
    for arguments in [&["tail", &url][..], &["tail", "--raw", &url], &["tail", &url]] {
        let start = Instant::now();
        let mut child = sse(arguments).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = next_line(&mut stderr);
        while line.contains("reading") || line.contains("trying again") {
            line = next_line(&mut stderr);
        }
        assert_eq!(line, format!("sse: waiting for an answer from {url}\n"));
        assert!(start.elapsed() >= Duration::from_secs(2));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn tail_lets_no_control_character_through() {
    // CR and LF end lines, and NUL makes an id void.
    let c0 = ('\u{1}'..' ').filter(|c| !matches!(c, '\t' | '\n' | '\r'));
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
    let text: String = c0.chain('\u{7f}'..='\u{9f}').chain(turns).collect();
    let body = format!("retry: 0\n:{text}\nevent: {text}\nid: {text}\ndata: {text}\n\n");
    let refused = format!(
        "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    for mode in [&[][..], &["--comments"], &["--json"], &["--json", "--comments"]] {
        let peer = Peer::start([stream(&body), raw(refused.clone())]);
        let url = peer.url("/");
        let (code, stdout, stderr) = run(&[&["tail", &url], mode].concat());
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("500 Internal Server Error: "), "{stderr}");
        for output in [&stdout, &stderr] {
            let found: Vec<_> = output.chars().filter(|c| text.contains(*c)).collect();
            assert!(found.is_empty(), "{mode:?}: {found:?}");
        }
        if mode.contains(&"--json") {
            let last: serde_json::Value =
                serde_json::from_str(stdout.lines().next_back().unwrap()).unwrap();
            for member in ["data", "id", "event"] {
                assert_eq!(last[member], text, "{member}");
            }
        }
    }
}

#[test]
fn a_proxy_in_the_environment_does_not_stand_between_us_and_this_machine() {
    let peer = Peer::start([stream("data: a\n\n"), status("201 Created", "")]);
    let port = Port::new();
    let (proxy, tail, send) = (port.url(), peer.url("/"), peer.url("/"));
    for arguments in [["tail", "--max-events=1", &tail], ["send", &send, "hello"]] {
        let mut command = sse(&arguments);
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
            command.env(name, &proxy);
        }
        let output = finish(command.env_remove("NO_PROXY").env_remove("no_proxy").spawn().unwrap());
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn plain_http_needs_no_root_certificates() {
    let peer = Peer::start([stream("data: a\n\n")]);
    let mut command = sse(&["tail", "--max-events=1", &peer.url("/")]);
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let output = finish(command.spawn().unwrap());
    assert!(output.status.success(), "{output:?}");
}

/// An answer to a POST with a JSON body.
fn created(id: &str) -> Answer {
    let body = format!("{{\"id\":\"{id}\"}}");
    raw(format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn send_posts_the_text_and_prints_the_id() {
    let peer = Peer::start([created("0badcafe-7")]);
    let url = peer.url("/messages/news");
    let (code, stdout, stderr) = run(&["send", &url, "grüße", "--token", "s3cret"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "0badcafe-7\n", ""));
    let request = peer.request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/messages/news"));
    assert_eq!(request.body, "grüße".as_bytes());
    assert_eq!(request.field("content-type").unwrap(), b"text/plain; charset=utf-8");
    assert_eq!(request.field("authorization").unwrap(), b"Bearer s3cret");
}

#[test]
fn send_reads_lines_from_standard_input() {
    let peer = Peer::start([created("e-1"), created("e-2"), created("e-3")]);
    let mut child =
        sse(&["send", &peer.url("/messages/a"), "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Each line goes out at once: the first is answered before the second is written.
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(peer.request().body, b"one");
    stdin.write_all(b"two\r\nthree").unwrap();
    drop(stdin);
    let output = finish(child);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "e-1\ne-2\ne-3\n");
    assert_eq!((peer.request().body, peer.request().body), (b"two".to_vec(), b"three".to_vec()));
}

#[test]
fn send_says_what_to_do_and_ends_with_2() {
    let port = Port::new();
    assert_fails(&["send", &port.url(), "x"], "refused", "running, and at this address?");
    assert_fails(&["send", "/messages/a", "x"], "/messages/a", "8003/messages/news");
    let problem = r#"{"title":"Content Too Large","detail":"the body is over 65536 bytes"}"#;
    let too_large = format!(
        "HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{problem}",
        problem.len()
    );
    let peer = Peer::start([status("401 X", ""), raw(too_large)]);
    let url = peer.url("/messages/a");
    assert_fails(&["send", &url, "x"], "401", "give a token with --token");
    assert_fails(&["send", &url, "x"], "(the body is over 65536 bytes)", "send it in parts");
}
