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
    use super::*;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = bind(&Settings::for_tests()).expect("any port");
        let address = listener.local_addr().expect("bound");
        let _client = std::net::TcpStream::connect(address).expect("accepted by the backlog");
        let (accepted, _) = listener.accept().expect("one is waiting");
        assert!(accepted.nodelay().expect("an option"));
        let timeout = socket2::SockRef::from(&accepted).tcp_user_timeout().expect("an option");
        assert_eq!(timeout, Some(Duration::from_secs(30)));
    }
}
