//! Clients that send more than one request at once, or leave without a word.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use fleet::Package;
use libtest_mimic::Failed;
use wire::Connection;

use crate::{PATIENCE, connect, open_streams, servers, until};

/// Behind a request that closes the connection, no other is answered, and the connection ends
/// ([RFC 9112 9.6](https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6)). A body with two ends
/// closes it too: a proxy may have chosen the other one
/// ([6.3](https://www.rfc-editor.org/rfc/rfc9112.html#section-6.3)).
pub fn answers_nothing_behind_a_close(package: &Package) -> Result<(), Failed> {
    let server = servers::start(package, &[])?;
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for last in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n",
        "POST /messages/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST /messages/t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Content-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut connection = connect(&server)?;
        connection.send(format!("{next}{last}{next}{next}").as_bytes())?;
        let answers = connection.read_to_close()?;
        let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.").count();
        if answers != 2 {
            return Err(format!("{answers} answers to {next:?}{last:?}, and more behind it").into());
        }
    }
    Ok(())
}

/// Requests of clients that read no answer cost little memory: the server stops reading.
pub fn keeps_no_queue_of_requests(package: &Package) -> Result<(), Failed> {
    const CLIENTS: usize = 6;
    const MOST_BYTES: usize = 16 << 20;
    const GROWTH_LIMIT_BYTES: u64 = 24 << 20;
    /// A server that takes nothing for so long has stopped.
    const QUIET: Duration = Duration::from_millis(500);
    let server = servers::start(package, &[])?;
    let usage = || server.usage().map_err(|error| Failed::from(format!("{error:#}")));
    let requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let before = usage()?;
    let clients = (0..CLIENTS).map(|_| connect(&server));
    let clients = clients.collect::<wire::Result<Vec<_>>>()?;
    let pipeline = |mut socket: &TcpStream| {
        socket.set_write_timeout(Some(QUIET))?;
        let mut sent = 0;
        while sent < MOST_BYTES {
            // From where the last write stopped, so that the server gets whole requests.
            match socket.write(&requests[sent % requests.len()..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let sending = clients.iter().map(|client| scope.spawn(|| pipeline(client.socket())));
        let sending: Vec<_> = sending.collect();
        sending.into_iter().try_for_each(|it| it.join().expect("nothing in it panics"))
    })?;
    let growth = usage()?.rss_bytes.saturating_sub(before.rss_bytes);
    if growth > GROWTH_LIMIT_BYTES {
        return Err(format!("{CLIENTS} clients that do not read cost {} KiB", growth / 1024).into());
    }
    Ok(())
}

/// A client that closes a silent stream frees its place long before the next keep-alive, also if the
/// server has not taken all that it sent.
pub fn forgets_clients_that_left(package: &Package) -> Result<(), Failed> {
    let server = servers::start(package, &["--keep-alive-ms", "3600000"])?;
    for next in ["", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let stream = |_| -> wire::Result<Connection> {
            let mut connection = connect(&server)?;
            let head = "GET /messages/silent HTTP/1.1\r\nHost: localhost\r\n\r\n";
            connection.send(format!("{head}{next}").as_bytes())?;
            connection.read_head()?;
            Ok(connection)
        };
        drop((0..20).map(stream).collect::<wire::Result<Vec<_>>>()?);
        let what = format!("sse_open_streams 0 after {next:?}");
        until(PATIENCE, &what, || Ok(open_streams(&server)? == 0))?;
    }
    Ok(())
}
