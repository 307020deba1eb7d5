//! A floor on a thread of this process.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use super::{Faults, Floor, Kind};

/// Serves on a free port until it is dropped.
#[derive(Debug)]
pub struct Local {
    addr: SocketAddr,
    stop: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Local {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen, or epoll cannot be had.
    pub fn start(faults: Faults) -> io::Result<Local> {
        let (stop, stopped) = UnixStream::pair()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut floor = Floor::listen(any, Kind { faults, ..Kind::default() }, stopped)?;
        let addr = floor.listener.local_addr()?;
        let thread = thread::Builder::new().name("floor".into()).spawn(move || floor.run())?;
        Ok(Local { addr, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A floor that has failed is gone already.
        let _ = self.stop.write_all(b"x");
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
