//! How to see a failure again by hand: the request bytes in a file, and a line that sends them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::{Case, Need, Target};

/// A longer pause between two writes is part of the request.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the line listens longer than the case did: streams do not end, and it shows no less.
const LONGER_S: u64 = 2;

/// Writes the bytes of the dialogue to a file of the target's folder; the line that sends them.
///
/// `None` if there is no folder, or if these bytes alone are not the dialogue: it had several
/// connections or pauses, or stopped a process. Then the case itself is the better advice.
pub(super) fn line(case: &Case, target: &Target, took: Duration) -> Option<String> {
    let folder = target.requests()?;
    let sent = target.log().sent()?;
    let connection = sent.first()?.connection;
    let is_one_piece = sent.iter().all(|it| it.connection == connection)
        && sent.windows(2).all(|pair| pair[1].at - pair[0].at < PAUSE)
        && !case.needs.contains(&Need::Process);
    if !is_one_piece {
        return None;
    }
    let file = folder.join(format!("{}.txt", case.id));
    let bytes: Vec<u8> = sent.into_iter().flat_map(|it| it.bytes).collect();
    std::fs::create_dir_all(folder).ok()?;
    write_for_owner(&file, &bytes).ok()?;
    let (host, port) = target.address().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let listen_s = took.as_secs() + LONGER_S;
    // A pipe that stays open, because some versions of nc close the sending side at the end of a
    // file, and some servers take that for a disconnect.
    let source = format!("(cat {}; sleep {listen_s})", file.display());
    let peer = match target.tls() {
        Some(tls) => {
            let name = tls.name();
            format!("openssl s_client -quiet -connect {host}:{port} -servername {name}")
        }
        None => format!("nc {host} {port}"),
    };
    Some(format!("{source} | timeout {listen_s} {peer}"))
}

/// Writes a file that its owner alone may read: the bytes have the credentials of the request.
fn write_for_owner(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // One of before may be there, with other permissions.
    let _ = std::fs::remove_file(file);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::server::cases;

    #[test]
    fn one_connection_is_a_file_and_a_line_and_any_other_dialogue_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("sse-requests-{}", std::process::id()));
        let target = Target::contract(address, None).with_requests(&folder);
        let case = cases().next().unwrap();
        let all: Vec<u8> = (0..=255).collect();

        let simple = target.for_case();
        let mut connection = simple.connect().unwrap();
        connection.send(&all).unwrap();
        connection.send(b"GET").unwrap();
        let line_of_it = line(case, &simple, Duration::from_millis(5100)).unwrap();
        assert!(line_of_it.contains("timeout 7 nc"), "longer than the case took: {line_of_it}");
        let file = folder.join("S1.01.txt");
        assert!(line_of_it.contains(&format!("cat {};", file.display())), "{line_of_it}");
        let nc = format!("nc {} {}", address.ip(), address.port());
        assert!(line_of_it.ends_with(&nc), "{line_of_it}");
        assert_eq!(std::fs::read(&file).unwrap(), [&all[..], b"GET"].concat());
        std::fs::remove_dir_all(&folder).unwrap();

        thread::sleep(PAUSE);
        connection.send(b" /").unwrap();
        assert_eq!(line(case, &simple, PAUSE), None);
        let twice = target.for_case();
        for _ in 0..2 {
            twice.connect().unwrap().send(b"GET").unwrap();
        }
        assert_eq!(line(case, &twice, PAUSE), None);
        assert!(!folder.exists());
    }
}
