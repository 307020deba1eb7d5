//! One line of shell that holds a dialogue again.

use std::fmt::Write as _;
use std::time::Duration;

use wire::Sent;

use super::{Case, Need, Target};

/// More connections than this say nothing that the decisive one does not.
const CONNECTIONS: usize = 4;
/// The longest line that a user would paste.
const LINE_BYTES: usize = 8 * 1024;
/// As many equal bytes are written as a command that makes them.
const LONG_RUN: usize = 80;
/// A shorter pause between two writes does not matter.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the line listens after it has sent all: streams do not end.
const LISTEN_S: u64 = 3;

/// The line, if the dialogue fits into one: a `curl` for a plain GET, bash's `/dev/tcp` for
/// the rest; it needs no tool that is not there.
///
/// Of several connections the first few are opened in their order, each while the others go on; of
/// many only the one on which the case ended.
pub(super) fn line(case: &Case, target: &Target) -> Option<String> {
    let (sent, latest) = target.log().sent()?;
    let mut numbers: Vec<usize> = sent.iter().map(|it| it.connection).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() > CONNECTIONS {
        numbers.retain(|number| *number == latest);
    }
    let of = |number: usize| sent.iter().filter(|it| it.connection == number).collect::<Vec<_>>();
    let address = target.address();
    let mut line = match numbers.as_slice() {
        [] => return None,
        [number] => dialogue(&of(*number), address)?,
        several => {
            let lines: Option<Vec<_>> =
                several.iter().map(|number| dialogue(&of(*number), address)).collect();
            format!("{} & wait", lines?.join(" & sleep 0.3; "))
        }
    };
    if case.needs.contains(&Need::Process) {
        line = format!("{line} & sleep 1; kill -TERM \"$SERVER_PID\"; wait");
    }
    (line.len() <= LINE_BYTES).then_some(line)
}

/// The bytes sent on one connection.
fn dialogue(sent: &[&Sent], address: &str) -> Option<String> {
    if let [request] = sent
        && let Some(line) = curl(&request.bytes, address)
    {
        return Some(line);
    }
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut commands: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut before = sent.first()?.at;
    let listen_s = (sent.last()?.at - before).as_secs() + LISTEN_S;
    for piece in sent {
        let pause = piece.at.saturating_sub(before);
        if pause >= PAUSE {
            flush(&mut text, &mut commands);
            commands.push(format!("sleep {:.1}", pause.as_secs_f64()));
        }
        before = piece.at;
        for run in piece.bytes.chunk_by(|a, b| a == b) {
            if run.len() < LONG_RUN {
                run.iter().for_each(|byte| escape(*byte, &mut text));
            } else {
                flush(&mut text, &mut commands);
                let byte = run[0];
                commands.push(format!("head -c {} /dev/zero | tr '\\0' '\\{byte:03o}'", run.len()));
            }
        }
    }
    flush(&mut text, &mut commands);
    let source = match commands.as_slice() {
        [one] => one.clone(),
        several => format!("{{ {}; }}", several.join("; ")),
    };
    // Both directions in one process, and no half-close: some servers take that for a disconnect.
    Some(format!(
        "{source} | timeout {listen_s} bash -c 'exec 3<>/dev/tcp/{host}/{port}; cat >&3; cat <&3'"
    ))
}

/// The same request with curl, if curl would send the same bytes.
fn curl(request: &[u8], address: &str) -> Option<String> {
    let text = std::str::from_utf8(request).ok()?;
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let target = lines.next()?.strip_prefix("GET /")?.strip_suffix(" HTTP/1.1")?;
    let host = lines.next()?.strip_prefix("Host: ")?;
    let plain = |text: &str| text.bytes().all(|it| it.is_ascii_graphic() && it != b'\'');
    if host != address || !plain(target) || target.contains('#') {
        return None;
    }
    let mut line = format!("curl -sSigN --raw --path-as-is -m {LISTEN_S} -A ''");
    let mut accepts = false;
    for header in lines {
        let (name, value) = header.split_once(": ")?;
        let value_is_plain = !value.is_empty()
            && value.trim() == value
            && value.bytes().all(|it| matches!(it, b' '..=b'~') && it != b'\'');
        let name_is_plain = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        // Headers that curl treats specially are sent by hand.
        let is_special = [
            "connection",
            "te",
            "transfer-encoding",
            "content-length",
            "expect",
            "host",
            "user-agent",
            "upgrade",
        ]
        .iter()
        .any(|it| name.eq_ignore_ascii_case(it));
        if !value_is_plain || !name_is_plain || is_special {
            return None;
        }
        accepts |= name.eq_ignore_ascii_case("accept");
        let _ = write!(line, " -H '{name}: {value}'");
    }
    if !accepts {
        line.push_str(" -H 'Accept:'");
    }
    let _ = write!(line, " 'http://{address}/{target}'");
    Some(line)
}

fn flush(text: &mut String, commands: &mut Vec<String>) {
    if !text.is_empty() {
        commands.push(format!("printf '{}'", std::mem::take(text)));
    }
}

/// A byte in a `printf` format between single quotes.
fn escape(byte: u8, text: &mut String) {
    match byte {
        b'\r' => text.push_str("\\r"),
        b'\n' => text.push_str("\\n"),
        b'%' => text.push_str("%%"),
        b'\'' | b'\\' => {
            let _ = write!(text, "\\{byte:03o}");
        }
        b' '..=b'~' => text.push(char::from(byte)),
        _ => {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use super::*;
    use crate::server::cases;

    /// Sends it as a case would, then by the line; both must arrive alike.
    fn arrives_alike(write: impl Fn(&Target), shape: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::contract(listener.local_addr().unwrap(), None);
        let received = thread::spawn(move || {
            [(); 2].map(|()| {
                let (mut socket, _) = listener.accept().unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
                let mut bytes = Vec::new();
                let mut buffer = [0; 65536];
                while let Ok(count @ 1..) = socket.read(&mut buffer) {
                    bytes.extend_from_slice(&buffer[..count]);
                }
                let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                bytes
            })
        });
        write(&target);
        let line = line(cases().next().unwrap(), &target).unwrap();
        assert!(line.contains(shape) && !line.contains('\n'), "{line}");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let [case, shell] = received.join().unwrap();
        assert!(!case.is_empty());
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        assert!(case == shell, "{line}\n{}\n{}", shown(&case), shown(&shell));
        assert!(String::from_utf8_lossy(&output.stdout).contains("204"), "{output:?}");
    }

    fn raw(bytes: &[u8], shape: &str) {
        arrives_alike(|target| target.connect().unwrap().send(bytes).unwrap(), shape);
    }

    #[test]
    fn a_plain_get_is_a_curl_that_sends_the_same_bytes() {
        arrives_alike(
            |target| {
                let request = target.get("/script?events=W3siZGF0YSI6IiJ9XQ&a=[1]{2}/../x");
                let request = request.header("Last-Event-ID", "a; \"b\" $c `d` %s \\");
                target.connect().unwrap().send(&request.to_bytes()).unwrap();
            },
            "curl ",
        );
        arrives_alike(
            |target| {
                let request = target.request("GET", "/");
                target.connect().unwrap().send(&request.to_bytes()).unwrap();
            },
            "-H 'Accept:'",
        );
    }

    #[test]
    fn any_bytes_arrive_as_they_were() {
        let all: Vec<u8> = (0..=255).collect();
        raw(&all, "printf");
        raw(b"GET / HTTP/1.1\r\nHost: a'b%c\\d\r\nX : \0\r\r\n\r\n", "printf");
        let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 300_000], b"\r\n\r\n"];
        raw(&long.concat(), "head -c 300000 /dev/zero");
    }

    #[test]
    fn pauses_are_kept_and_too_long_a_line_is_none() {
        arrives_alike(
            |target| {
                let mut connection = target.connect().unwrap();
                connection.send(b"GET /").unwrap();
                thread::sleep(Duration::from_millis(150));
                connection.send(b" HTTP/1.1\r\n\r\n").unwrap();
            },
            "; sleep 0.",
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::contract(listener.local_addr().unwrap(), None);
        let noise: Vec<u8> = (0..20_000_u32).map(|n| b'a' + (n % 7) as u8).collect();
        target.connect().unwrap().send(&noise).unwrap();
        assert_eq!(line(cases().next().unwrap(), &target), None);
    }
}
