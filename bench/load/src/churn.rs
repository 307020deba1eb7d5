//! Streams that go away: when does the server notice?
//!
//! A stream is gone when the server has closed its descriptor and no longer counts it. Both are
//! looked at from outside: `/proc/PID/fd` and the server's own gauge.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::TOPIC;

/// The keep-alive interval that a server is given: a server that notices only when it writes has
/// this long.
pub const KEEP_ALIVE_MS: u64 = 500;

/// The stall timeout that a server is given.
pub const STALL_TIMEOUT_MS: u64 = 500;

/// After this a stream counts as never cleaned up: four keep-alive intervals.
const NEVER: Duration = Duration::from_millis(4 * KEEP_ALIVE_MS);

/// Between two looks: the resolution of the result.
const LOOK: Duration = Duration::from_millis(1);

/// Streams that fall silent: each fills the kernel's buffers, megabytes.
const SILENT_MAX: u64 = 10;

/// Arguments for the server that is looked at.
pub fn server_args() -> [String; 4] {
    [
        "--keep-alive-ms".into(),
        KEEP_ALIVE_MS.to_string(),
        "--stall-timeout-ms".into(),
        STALL_TIMEOUT_MS.to_string(),
    ]
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It closes its connection: FIN.
    Fin,
    /// It breaks its connection off: RST.
    Rst,
    /// It stops reading, and the events pile up.
    Silence,
}

/// How long the server took.
#[derive(Debug, Clone, Copy)]
pub struct CleanUp {
    /// Until half of the streams were gone, nanoseconds.
    pub half_ns: u64,
    /// Until all were gone; nothing if they never were.
    pub all_ns: Option<u64>,
    /// Streams that were never gone.
    pub left: u64,
}

/// Opens streams, lets them go away, and waits until they are gone.
///
/// # Errors
/// When the streams do not open.
pub fn clean_up(addr: SocketAddr, pid: u32, streams: u64, way: Way) -> Result<CleanUp> {
    let count = if way == Way::Silence { streams.min(SILENT_MAX) } else { streams };
    let before = settled_fds(pid, addr)?;
    let target = if way == Way::Silence { "/ticks?interval_ms=0&pad=4096" } else { TOPIC };
    let mut open = Vec::new();
    for index in 0..count {
        open.push(stream(addr, target, index, way)?);
    }
    let deadline = Instant::now() + NEVER;
    while gauge(addr)? < count {
        if Instant::now() > deadline {
            bail!("{} of {count} streams are counted as open", gauge(addr)?);
        }
        std::thread::sleep(LOOK);
    }
    let began = Instant::now();
    match way {
        Way::Fin => drop(open),
        Way::Rst => {
            for it in open {
                Socket::from(it).set_linger(Some(Duration::ZERO))?;
            }
        }
        Way::Silence => return look(addr, pid, before, count, began, open),
    }
    look(addr, pid, before, count, began, Vec::new())
}

fn look(
    addr: SocketAddr,
    pid: u32,
    before: u64,
    count: u64,
    began: Instant,
    open: Vec<TcpStream>,
) -> Result<CleanUp> {
    let mut half_ns = None;
    loop {
        let left = fds(pid)?.saturating_sub(before);
        let elapsed = began.elapsed();
        if half_ns.is_none() && left <= count / 2 {
            half_ns = Some(elapsed.as_nanos() as u64);
        }
        let all_ns = (left == 0 && gauge(addr)? == 0).then_some(elapsed.as_nanos() as u64);
        if all_ns.is_some() || elapsed > NEVER {
            drop(open);
            let left = if all_ns.is_some() { 0 } else { left.max(gauge(addr)?) };
            let half_ns = half_ns.unwrap_or(elapsed.as_nanos() as u64);
            return Ok(CleanUp { half_ns, all_ns, left });
        }
        std::thread::sleep(LOOK);
    }
}

fn stream(addr: SocketAddr, target: &str, index: u64, way: Way) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if way == Way::Silence {
        socket.set_recv_buffer_size(4096)?;
    }
    let from = Ipv4Addr::new(127, 0, 3, (1 + index % 64) as u8);
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&addr.into()).context("a stream does not connect")?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(NEVER))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("a stream gets no answer")?;
    if &head[9..12] != b"200" {
        bail!("a stream was answered with {}", String::from_utf8_lossy(&head));
    }
    Ok(stream)
}

fn fds(pid: u32) -> Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The descriptors once those of earlier questions are closed.
fn settled_fds(pid: u32, addr: SocketAddr) -> Result<u64> {
    let _ = gauge(addr)?;
    let mut last = fds(pid)?;
    for _ in 0..50 {
        std::thread::sleep(4 * LOOK);
        let now = fds(pid)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// `sse_open_streams`, asked on a separate connection.
fn gauge(addr: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // Not to the end: the floor keeps the connection.
    loop {
        let found = String::from_utf8_lossy(&text);
        let value = found.lines().find_map(|it| it.strip_prefix("sse_open_streams "));
        if let Some(value) = value
            && found.ends_with('\n')
        {
            return value.trim().parse().context("sse_open_streams is no number");
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            bail!("/metrics has no sse_open_streams");
        }
        text.extend_from_slice(&buffer[..read]);
    }
}
