//! Separate segments: one is sent only when the client has read the one before.
//!
//! `TCP_NODELAY` sends each write as a segment, but two that arrive before the client looks are one
//! read to it, and a case about cuts would test nothing. On Linux the kernel tells how many bytes
//! wait at the client's socket (`sock_diag`, man 7 sock_diag: netlink, and `inet_diag_req_v2` of
//! linux/inet_diag.h); elsewhere, or where the client is on another host, a short pause has to do.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long to wait for a client that does not read; then the cut is lost, and nothing else.
const WAIT: Duration = Duration::from_millis(40);
/// The pause where nobody says what was read.
const PAUSE: Duration = Duration::from_millis(1);
/// How often to look at first; a client on this host reads within some ten microseconds.
const LOOKS: u32 = 40;

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const ALL_STATES: u32 = 0xfff;
/// `idiag_rqueue`, behind `nlmsghdr`, four bytes, `inet_diag_sockid` and `idiag_expires`.
const RQUEUE_AT: usize = 16 + 4 + 48 + 4;

/// Knows when a client has read what was sent to it.
pub(super) struct Segments {
    netlink: Option<(Socket, Vec<u8>)>,
}

impl Segments {
    /// For the client at the other end of this connection.
    pub(super) fn of(connection: &TcpStream) -> Segments {
        let ends = (connection.peer_addr(), connection.local_addr());
        let (Ok(SocketAddr::V4(client)), Ok(SocketAddr::V4(here))) = ends else {
            return Segments { netlink: None };
        };
        let question = question(client, here);
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, protocol).ok();
        let socket = socket.filter(|it| it.set_read_timeout(Some(WAIT)).is_ok());
        Segments { netlink: socket.map(|socket| (socket, question)) }
    }

    /// Waits until the client has read all that was sent; says whether that was seen.
    pub(super) fn taken(&mut self) -> bool {
        let deadline = Instant::now() + WAIT;
        for look in 0.. {
            match self.waiting() {
                Some(0) => return true,
                None => {
                    thread::sleep(PAUSE);
                    return false;
                }
                Some(_) if Instant::now() >= deadline => return false,
                Some(_) if look < LOOKS => thread::yield_now(),
                Some(_) => thread::sleep(Duration::from_micros(200)),
            }
        }
        unreachable!("the range has no end")
    }

    /// How many bytes wait at the client's socket; `None` if nobody can say.
    fn waiting(&mut self) -> Option<u32> {
        let (socket, question) = self.netlink.as_mut()?;
        socket.send(question).ok()?;
        let mut answer = [0; 512];
        let count = socket.read(&mut answer).ok()?;
        let is_answer = count >= RQUEUE_AT + 4
            && u16::from_ne_bytes([answer[4], answer[5]]) == SOCK_DIAG_BY_FAMILY;
        let bytes = answer[RQUEUE_AT..RQUEUE_AT + 4].try_into().expect("four bytes");
        is_answer.then(|| u32::from_ne_bytes(bytes))
    }
}

/// `nlmsghdr` and `inet_diag_req_v2` for the one socket with these ends.
fn question(client: std::net::SocketAddrV4, here: std::net::SocketAddrV4) -> Vec<u8> {
    let mut body = vec![AF_INET, IPPROTO_TCP, 0, 0];
    body.extend(ALL_STATES.to_ne_bytes());
    body.extend(client.port().to_be_bytes());
    body.extend(here.port().to_be_bytes());
    for address in [client.ip(), here.ip()] {
        body.extend(address.octets());
        body.extend([0; 12]);
    }
    body.extend(0_u32.to_ne_bytes());
    // No cookie: whichever socket it is.
    body.extend([0xff; 8]);
    let length = u32::try_from(16 + body.len()).expect("72 bytes");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn each_segment_is_a_read_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        let (reads, got) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 100];
            while let Ok(count @ 1..) = client.read(&mut bytes) {
                reads.send(bytes[..count].to_vec()).unwrap();
                // A reader that is busy: without waiting for it the next segments would pile up.
                thread::sleep(Duration::from_micros(300));
            }
        });
        let mut segments = Segments::of(&server);
        let sent: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; usize::from(n % 7) + 1]).collect();
        for segment in &sent {
            server.write_all(segment).unwrap();
            assert!(segments.taken());
        }
        drop(server);
        reader.join().unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>(), sent);
    }

    #[test]
    fn a_client_that_does_not_read_is_not_waited_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"a").unwrap();
        let began = Instant::now();
        assert!(!Segments::of(&server).taken());
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
