//! The way of a client to the nodes: bytes are passed on as they come, to the node that it is aimed at, and the
//! connection can be cut behind any byte.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use super::edit::{Editor, Fault};

/// Bytes that are passed on at once, at most.
const PIECE_BYTES: usize = 16 * 1024;

/// A port of its own for one client. It closes with this value.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    way: Arc<Way>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Way {
    nodes: Vec<SocketAddr>,
    aim: AtomicUsize,
    edits: bool,
    is_over: AtomicBool,
    orders: Mutex<Orders>,
}

/// Disturbances that wait for their byte.
#[derive(Debug, Default)]
struct Orders {
    /// Bytes that still come to the client.
    cut_after: Option<u64>,
    cuts: u64,
    faults: Vec<Fault>,
}

impl Relay {
    /// A relay to these nodes; `edits` if faults are planted into it.
    pub(crate) fn open(nodes: Vec<SocketAddr>, edits: bool) -> Result<Relay> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a relay")?;
        let address = listener.local_addr()?;
        let (aim, is_over, orders) = Default::default();
        let way = Arc::new(Way { nodes, aim, edits, is_over, orders });
        let theirs = Arc::clone(&way);
        let accepting = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if theirs.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let way = Arc::clone(&theirs);
                thread::spawn(move || {
                    // An end of either side is for the other one to see.
                    let _ = way.pass(&client);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Relay { address, way, accepting: Some(accepting) })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next connections go to this node.
    pub(crate) fn aim(&self, node: usize) {
        self.way.aim.store(node, Ordering::SeqCst);
    }

    /// The open connection, or the next one, ends behind so many bytes.
    pub(crate) fn cut(&self, after_bytes: u64) {
        self.way.orders().cut_after = Some(after_bytes);
    }

    /// Connections that were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.way.orders().cuts
    }

    /// Plants a fault.
    pub(super) fn plant(&self, fault: Fault) {
        self.way.orders().faults.push(fault);
    }

    /// Faults that have found no place.
    pub(crate) fn unplanted(&self) -> usize {
        self.way.orders().faults.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection, so this one ends it.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Way {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Nothing here panics half way.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on both directions of a connection until it ends.
    fn pass(&self, client: &TcpStream) -> io::Result<()> {
        let node = TcpStream::connect(self.nodes[self.aim.load(Ordering::SeqCst)])?;
        node.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (mut from, mut to) = (client.try_clone()?, node.try_clone()?);
        let upwards = thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let passed = self.pass_down(&node, client);
        let _ = node.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
        let _ = upwards.join();
        passed
    }

    fn pass_down(&self, mut node: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut editor = self.edits.then(Editor::default);
        let mut bytes = [0; PIECE_BYTES];
        loop {
            let count = match node.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (left, edited) = {
                let mut orders = self.orders();
                let edited = editor.as_mut().map(|it| it.pass(&bytes[..count], &mut orders.faults));
                let length = edited.as_ref().map_or(count, Vec::len) as u64;
                let left = orders.cut_after.filter(|it| *it < length);
                if left.is_some() {
                    orders.cut_after = None;
                    orders.cuts += 1;
                } else if let Some(after) = &mut orders.cut_after {
                    *after -= length;
                }
                (left, edited)
            };
            let piece = edited.as_deref().unwrap_or(&bytes[..count]);
            let Some(left) = left else {
                client.write_all(piece)?;
                continue;
            };
            let left = usize::try_from(left).unwrap_or(piece.len());
            return client.write_all(&piece[..left]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says its name to each connection and keeps it open until its client ends it.
    fn server(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                thread::spawn(move || {
                    socket.write_all(name.as_bytes()).unwrap();
                    let _ = socket.read_to_end(&mut Vec::new());
                });
            }
        });
        address
    }

    fn read(relay: &Relay, bytes: usize) -> (String, TcpStream) {
        let mut socket = TcpStream::connect(relay.address()).unwrap();
        let mut read = vec![0; bytes];
        socket.read_exact(&mut read).unwrap();
        (String::from_utf8(read).unwrap(), socket)
    }

    #[test]
    fn a_connection_goes_where_the_relay_is_aimed_and_is_cut_at_its_byte() {
        let relay = Relay::open(vec![server("first"), server("second")], false).unwrap();
        let (name, open) = read(&relay, 5);
        assert_eq!(name, "first");
        relay.aim(1);
        assert_eq!(read(&relay, 6).0, "second");
        drop(open);
        relay.cut(4);
        let (start, mut socket) = read(&relay, 4);
        assert_eq!(start, "seco");
        let mut rest = String::new();
        socket.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), relay.cuts()), ("", 1));
        assert_eq!(read(&relay, 6).0, "second");
    }

    #[test]
    fn a_node_that_is_away_ends_the_connection_at_once() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let relay = Relay::open(vec![free], false).unwrap();
        let mut socket = TcpStream::connect(relay.address()).unwrap();
        assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
}
