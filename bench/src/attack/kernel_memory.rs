//! The kernel's memory of TCP connections, as `ss -tm` shows it: netlink's sock_diag.
//!
//! `/proc/net/tcp` has only the bytes that wait, and `/proc/net/sockstat` only the sum of all sockets of
//! the host. Source: [sock_diag(7)](https://man7.org/linux/man-pages/man7/sock_diag.7.html).

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_SKMEMINFO: u16 = 7;
const TCP_ESTABLISHED: u32 = 1;

/// `struct nlmsghdr`, `struct inet_diag_req_v2`, `struct inet_diag_msg`, `struct nlattr`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
const MESSAGE_BYTES: usize = 72;
const ATTRIBUTE_BYTES: usize = 4;

/// More than the kernel puts into one answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// The kernel's memory of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes for data that waits to be sent, or to be acknowledged.
    pub queued: u64,
    /// The same with data that waits to be read, and with bytes set aside for more.
    pub all: u64,
}

/// That of each established connection that was accepted at this address, by the port of its client.
pub(crate) fn of_connections(server: SocketAddr) -> io::Result<HashMap<u16, Memory>> {
    let socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(&request(server))?;
    let mut found = HashMap::new();
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let length = (&socket).read(&mut answer)?;
        let mut rest = &answer[..length];
        while let Some((kind, message)) = next_message(&mut rest) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => {
                    let code = u32_at(message, 0).unwrap_or(0).cast_signed();
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => found.extend(connection(message)),
            }
        }
    }
}

/// All established connections with this local port.
fn request(server: SocketAddr) -> Vec<u8> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    bytes.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8]);
    let extensions = 1 << (INET_DIAG_SKMEMINFO - 1);
    bytes.extend([if server.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP, extensions, 0]);
    bytes.extend((1u32 << TCP_ESTABLISHED).to_ne_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.resize(HEADER_BYTES + REQUEST_BYTES, 0);
    bytes
}

/// Takes the kind and the content of the next message off the front.
fn next_message<'b>(bytes: &mut &'b [u8]) -> Option<(u16, &'b [u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let kind = u16_at(bytes, 4)?;
    let content = bytes.get(HEADER_BYTES..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, content))
}

/// The client's port and the memory of a connection.
fn connection(message: &[u8]) -> Option<(u16, Memory)> {
    let client = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
    let mut attributes = message.get(MESSAGE_BYTES..)?;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if u16_at(attributes, 2)? == INET_DIAG_SKMEMINFO {
            let value = attributes.get(ATTRIBUTE_BYTES..length)?;
            // SK_MEMINFO_: RMEM_ALLOC, RCVBUF, WMEM_ALLOC, SNDBUF, FWD_ALLOC, WMEM_QUEUED.
            let field = |index: usize| u32_at(value, index * 4).map(u64::from);
            let (received, set_aside, queued) = (field(0)?, field(4)?, field(5)?);
            return Some((client, Memory { queued, all: received + set_aside + queued }));
        }
        attributes = attributes.get(length.max(1).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_wait_in_the_kernel_are_found_at_their_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silent = TcpStream::connect(address).unwrap();
        let client = TcpStream::connect(address).unwrap();
        let _of_silent = listener.accept().unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(bytes) = accepted.write(&[b'x'; 65536]) {
            written += bytes as u64;
        }
        let found = of_connections(address).unwrap();
        let [silent, client] = [silent, client].map(|it| found[&it.local_addr().unwrap().port()]);
        assert_eq!(silent.queued, 0, "{silent:?}");
        // Some of them lie at the client's end.
        assert!(client.queued > written / 4, "{client:?} of {written}");
        assert!(client.all >= client.queued, "{client:?}");
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
