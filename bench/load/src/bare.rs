//! A bare receive loop, as one would write it in C: epoll, recv, a clock, nothing else.
//!
//! It does not decode, parse or count by subscriber. The CPU that the generator takes beyond this
//! is the price of checking every event, and each run states it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

use super::plan::GRACE_NS;
use super::shape::CONNECT_EVERY_NS;
use super::stamp::Stamp;
use crate::timer::{SECOND_NS, unix_ns};

/// The first message's number: all have two digits, so all frames are of one length.
const FIRST: u64 = 10;

/// The cost of the bare loop.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// CPU time of its thread for each event, nanoseconds.
    pub cpu_ns_per_event: f64,
    /// Events that it received.
    pub events: u64,
}

/// CPU time of the calling thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let own = clock_gettime(ClockId::ThreadCPUTime);
    own.tv_sec as u64 * SECOND_NS + own.tv_nsec as u64
}

/// Receives `messages` broadcasts (at most 90) to `subscribers` streams of the floor at `addr`.
///
/// # Errors
/// When the floor does not answer, or not every byte comes.
pub fn measure(addr: SocketAddr, subscribers: u64, every: Duration, messages: u64) -> Result<Bare> {
    let topic = format!("/messages/bare-{}", unix_ns());
    // No stream is open yet: these make the floor's own ids have two digits too.
    publish(addr, &topic, Duration::ZERO, 1..FIRST);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams = Vec::new();
    for index in 0..subscribers {
        let mut stream = open(addr, index).context("the bare loop cannot connect")?;
        subscribe(&mut stream, addr, &topic)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(index);
        epoll::add(&poll, stream.as_fd(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        streams.push(stream);
        std::thread::sleep(Duration::from_nanos(CONNECT_EVERY_NS / 4));
    }
    let published = std::thread::spawn(move || {
        publish(addr, &topic, every, FIRST..FIRST + messages);
    });

    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let frame = frame_bytes();
    // The first message warms up.
    let (warm, all) = (frame * subscribers, frame * subscribers * messages);
    let (mut bytes, mut latest_ns) = (0, 0);
    let mut began = None;
    let deadline = Instant::now() + every * (messages as u32 + 1) + Duration::from_nanos(GRACE_NS);
    let tick = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while bytes < all && Instant::now() < deadline {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&tick))?;
        for event in &events {
            let index = event.data.u64() as usize;
            let read = streams[index].read(&mut buffer).unwrap_or(0);
            latest_ns = latest_ns.max(unix_ns());
            bytes += read as u64;
        }
        if began.is_none() && bytes >= warm {
            began = Some((thread_cpu_ns(), bytes));
        }
    }
    let ended_ns = thread_cpu_ns();
    if published.join().is_err() || bytes != all {
        bail!("the bare loop received {bytes} of {all} bytes");
    }
    let (began_ns, began_bytes) = began.context("the bare loop received nothing")?;
    let events = (bytes - began_bytes) / frame;
    Ok(Bare { cpu_ns_per_event: (ended_ns - began_ns) as f64 / events as f64, events })
}

fn open(addr: SocketAddr, index: u64) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    let from = Ipv4Addr::new(127, 0, 2, (1 + index % 64) as u8);
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&addr.into())?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

fn subscribe(stream: &mut TcpStream, addr: SocketAddr, topic: &str) -> Result<()> {
    write!(stream, "GET {topic} HTTP/1.1\r\nHost: {addr}\r\n\r\n")?;
    let mut head = [0; 512];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut head[length..])?;
        if read == 0 {
            bail!("the floor closed a stream of the bare loop");
        }
        length += read;
    }
    Ok(())
}

fn publish(addr: SocketAddr, topic: &str, every: Duration, numbers: Range<u64>) {
    let Ok(mut stream) = open(addr, 0) else { return };
    let _ = stream.set_nodelay(true);
    let mut due = Instant::now() + every;
    for n in numbers {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        let body = body(n);
        let head = format!("POST {topic} HTTP/1.1\r\nHost: {addr}\r\nContent-Length:");
        // The loop notices a message that does not arrive.
        let _ = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
        let _ = stream.read(&mut [0; 512]);
    }
}

fn body(n: u64) -> String {
    let mut body = String::new();
    let now_ns = unix_ns();
    Stamp { n, scheduled_ns: now_ns, emitted_ns: now_ns }.write(0, &mut body);
    body
}

/// The length of a frame of the floor.
fn frame_bytes() -> u64 {
    let event = format!("id: 00000000-10\nevent: message\ndata: {}\n\n", body(FIRST));
    (format!("{:x}\r\n", event.len()).len() + event.len() + 2) as u64
}
