//! Separate segments: one is sent only when the client has read the one before.
//!
//! `TCP_NODELAY` sends each write as a segment, but two that arrive before the client looks are one
//! read to it, and a case about cuts would test nothing. On Linux the kernel shows how many bytes
//! have come to the client's socket and how many of them wait there (man 7 sock_diag, and
//! linux/inet_diag.h, linux/tcp.h); elsewhere, or where the client is on another host, a short pause
//! has to do.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long to wait for a client that does not read; then the cut is lost, and nothing else.
const WAIT: Duration = Duration::from_millis(250);
/// Waits in a row; a client that has not read by then has stopped reading.
const WAITS: u32 = 3;
/// The pause where the kernel does not say what was read.
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
/// `INET_DIAG_INFO`, as a bit of what is asked for and as the type of what is answered.
const INFO_BIT: u8 = 2;
const INFO_TYPE: u16 = 2;
/// `idiag_rqueue`, behind `nlmsghdr`, four bytes, `inet_diag_sockid` and `idiag_expires`.
const RQUEUE_AT: usize = 16 + 4 + 48 + 4;
/// The attributes, behind `nlmsghdr` and `inet_diag_msg`.
const ATTRIBUTES_AT: usize = 16 + 72;
/// `tcpi_bytes_received` in `tcp_info`.
const RECEIVED_AT: usize = 128;

/// Knows when a client has read what was sent to it.
pub(super) struct Segments {
    netlink: Option<(Socket, Vec<u8>)>,
    in_vain: u32,
}

impl Segments {
    /// For the client at the other end of this connection.
    pub(super) fn of(connection: &TcpStream) -> Segments {
        let ends = (connection.peer_addr(), connection.local_addr());
        let (Ok(SocketAddr::V4(client)), Ok(SocketAddr::V4(here))) = ends else {
            return Segments { netlink: None, in_vain: 0 };
        };
        let question = question(client, here);
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, protocol).ok();
        let socket = socket.filter(|it| it.set_read_timeout(Some(WAIT)).is_ok());
        Segments { netlink: socket.map(|socket| (socket, question)), in_vain: 0 }
    }

    /// Waits until the client has read all that was sent on the connection; says whether that was
    /// seen.
    ///
    /// Both numbers count: what has been sent may not have come to the client's socket yet.
    pub(super) fn taken(&mut self, sent: u64) -> bool {
        if self.in_vain >= WAITS {
            return false;
        }
        let deadline = Instant::now() + WAIT;
        for look in 0.. {
            match self.waiting() {
                Some((0, received)) if received >= sent => {
                    self.in_vain = 0;
                    return true;
                }
                None => {
                    thread::sleep(PAUSE);
                    return false;
                }
                Some(_) if Instant::now() >= deadline => {
                    self.in_vain += 1;
                    return false;
                }
                Some(_) if look < LOOKS => thread::yield_now(),
                Some(_) => thread::sleep(Duration::from_micros(200)),
            }
        }
        unreachable!("the range has no end")
    }

    /// How many bytes wait at the client's socket, and how many have come there in all; `None` if
    /// that is not known.
    fn waiting(&mut self) -> Option<(u32, u64)> {
        let (socket, question) = self.netlink.as_mut()?;
        socket.send(question).ok()?;
        let mut answer = [0; 2048];
        let count = socket.read(&mut answer).ok()?;
        let answer = &answer[..count];
        if u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?) != SOCK_DIAG_BY_FAMILY {
            return None;
        }
        let waiting = answer.get(RQUEUE_AT..RQUEUE_AT + 4)?.try_into().ok()?;
        let info = attribute(answer.get(ATTRIBUTES_AT..)?, INFO_TYPE)?;
        let received = info.get(RECEIVED_AT..RECEIVED_AT + 8)?.try_into().ok()?;
        Some((u32::from_ne_bytes(waiting), u64::from_ne_bytes(received)))
    }
}

/// The value of the attribute of this type: `nlattr`, each aligned to four bytes.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        if kind == wanted {
            return bytes.get(4..length);
        }
        // An attribute shorter than its own head would be none.
        bytes = bytes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// `nlmsghdr` and `inet_diag_req_v2` for the one socket with these ends.
fn question(client: std::net::SocketAddrV4, here: std::net::SocketAddrV4) -> Vec<u8> {
    let mut body = vec![AF_INET, IPPROTO_TCP, INFO_BIT, 0];
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
        let sent: Vec<Vec<u8>> = (0..2000_usize).map(|n| vec![n as u8; n % 7 + 1]).collect();
        let mut total = 0;
        for segment in &sent {
            server.write_all(segment).unwrap();
            total += segment.len() as u64;
            // On a busy host the reader may get no core for longer than a case would wait for it. The next
            // segment waits all the same.
            let deadline = Instant::now() + Duration::from_secs(20);
            while !segments.taken(total) {
                assert!(Instant::now() < deadline, "{total} bytes were not read");
                segments = Segments::of(&server);
            }
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
        let mut segments = Segments::of(&server);
        assert!((0..1000).all(|_| !segments.taken(1)));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
