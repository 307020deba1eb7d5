//! The listening socket, set up the way an event stream needs it.
//!
//! Accepted sockets inherit these options from the listener on Linux, so one place serves every
//! framework that takes a listener of ours.

mod pending;
#[cfg(feature = "tokio")]
mod tokio;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

pub use self::pending::{Pending, Place};
#[cfg(feature = "tokio")]
pub use self::tokio::{Connection, Listener, RequestDeadline, Streaming};
use crate::settings::Settings;

/// Connections that may wait to be accepted. The usual 128 overflows when thousands of clients come
/// back at once; Linux caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes for a client before it can send them. Its send buffer grows to 4 MiB,
/// also for a client that reads nothing, so a few hundred of those would fill the kernel's memory for
/// TCP. This bounds the bytes that wait, not those under way: a long path is used as before, while a
/// fixed `SO_SNDBUF` of this size would make it many times slower
/// (`bench/results/2026-11-29-send-buffers`). Source: Linux,
/// [`tcp_notsent_lowat`](https://docs.kernel.org/networking/ip-sysctl.html).
#[cfg(target_os = "linux")]
const NOTSENT_BYTES: u32 = 128 * 1024;

/// Binds the listener and raises the limit of open files as far as the process may.
///
/// # Errors
/// Those of the operating system, with the address: the port is taken, the address is not ours.
pub fn bind(settings: &Settings) -> io::Result<TcpListener> {
    raise_open_files();
    bind_tuned(settings).map_err(|error| cannot_listen(settings, &error))
}

/// Why a server cannot listen, with the address and advice.
pub fn cannot_listen(settings: &Settings, error: &io::Error) -> io::Error {
    let address = SocketAddr::new(settings.host, settings.port);
    let text = format!("cannot listen on {address}: {error}; --port 0 takes any free port");
    io::Error::new(error.kind(), text)
}

fn bind_tuned(settings: &Settings) -> io::Result<TcpListener> {
    let address = SocketAddr::new(settings.host, settings.port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that is restarted must not wait for its old connections to time out.
    socket.set_reuse_address(true)?;
    tune(&socket, settings.stall_timeout())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets the options that accepted sockets inherit.
fn tune(socket: &Socket, stall_timeout: Duration) -> io::Result<()> {
    // An event is small and must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    // The kernel closes a connection that takes no byte for this time, whether the client vanished
    // or just does not read: the frameworks have no timeout for a write. Source: tcp(7),
    // TCP_USER_TIMEOUT.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stall_timeout))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOTSENT_BYTES)?;
    #[cfg(not(target_os = "linux"))]
    let _ = stall_timeout;
    Ok(())
}

/// Prints the one line on standard output: the server accepts connections now.
pub fn announce(address: SocketAddr) {
    println!("listening on http://{address}");
}

/// Raises the limit of open files as far as the process may: each stream is an open file, and the
/// soft limit is often 1024. It is no error if the limit stays.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use super::*;
    use crate::stream::COALESCE_BYTES;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let (accepted, _client) = connection();
        assert!(accepted.nodelay().expect("an option"));
        let socket = socket2::SockRef::from(&accepted);
        let timeout = socket.tcp_user_timeout().expect("an option");
        assert_eq!(timeout, Some(Duration::from_secs(30)));
        assert_eq!(socket.tcp_notsent_lowat().expect("an option"), NOTSENT_BYTES);
    }

    /// Written as servers write: small events, large ones, batches.
    #[test]
    fn a_reader_that_does_not_read_holds_little_memory_of_the_kernel() {
        for bytes in [100, COALESCE_BYTES, 65_600] {
            let (mut accepted, _client) = connection();
            // No progress for this long is the end. A busy host only makes it come earlier.
            accepted.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
            let mut written = 0;
            while let Ok(more) = accepted.write(&vec![b'x'; bytes]) {
                written += more;
            }
            let queued = queued_bytes(accepted.local_addr().expect("bound").port());
            assert!(queued > 0, "{written} bytes fit into the client's buffer");
            assert!(queued <= 256 * 1024, "{queued} of {written} bytes, {bytes} at a time");
        }
    }

    /// An accepted socket and its client.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = bind(&Settings::for_tests()).expect("any port");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("accepted by the backlog");
        (listener.accept().expect("one is waiting").0, client)
    }

    /// Bytes that wait in the kernel to be sent from this port, or to be acknowledged.
    fn queued_bytes(port: u16) -> u64 {
        // 0: 0100007F:1F43 0100007F:D2F0 01 00010000:00000000 …, in hex
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let queues = sockets.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let is_it = fields.next()?.ends_with(&format!(":{port:04X}"));
            let queue = fields.nth(2)?.split(':').next()?;
            is_it.then(|| u64::from_str_radix(queue, 16).expect("hex"))
        });
        queues.max().expect("the socket is open")
    }
}
