//! Rocket's listener as `feed::listen` would have made it, and an end as soon as nothing is left.
//!
//! Rocket 0.5 binds by itself and takes no listener of ours (`default_tcp_http_server` in its
//! `server.rs`; [Rocket#2933](https://github.com/rwf2/Rocket/issues/2933) says that 0.6 will), with
//! the usual backlog of 128 and without a limit on a write. On Linux both can be changed later:
//! another `listen` sets the backlog anew, and accepted sockets inherit the options that the
//! listener has by then.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use feed::listen::{BACKLOG, announce, tune};
use rocket::fairing::{Fairing, Info, Kind};
use rocket::{Orbit, Rocket};
use socket2::Socket;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::SharedFeed;

/// Between two looks at the tasks that are left: short beside the 2 s that the contract gives.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Makes the best of Rocket's listener, then says where it is.
pub struct Liftoff;

#[rocket::async_trait]
impl Fairing for Liftoff {
    fn info(&self) -> Info {
        Info { name: "listener", kind: Kind::Liftoff }
    }

    async fn on_liftoff(&self, rocket: &Rocket<Orbit>) {
        let feed: &SharedFeed = rocket.state().expect("`routes` has it managed");
        let address = SocketAddr::new(rocket.config().address, rocket.config().port);
        if let Err(error) = mend(address, feed.settings.stall_timeout()) {
            // Some containers forbid what `sockets` does. It is no reason not to serve.
            eprintln!(
                "the listener keeps a backlog of 128 and no write timeout: {error}; \
                 allow this process pidfd_getfd"
            );
        }
        announce(address);
    }
}

fn mend(address: SocketAddr, stall_timeout: Duration) -> io::Result<()> {
    let listener = find(address)?;
    tune(&listener, stall_timeout)?;
    listener.listen(BACKLOG)
}

/// A second handle to the socket with which this process listens at this address.
fn find(address: SocketAddr) -> io::Result<Socket> {
    for socket in sockets()? {
        let socket = socket?;
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        if local == Some(address) && socket.is_listener().unwrap_or(false) {
            return Ok(socket);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Second handles to the sockets of this process; its files are among them and answer nothing.
///
/// Rocket shows its sockets to nobody, and to take a descriptor by its number would be `unsafe`.
/// So the kernel is asked for a duplicate, which is the same socket.
///
/// # Errors
/// When the kernel refuses, or no descriptor is free.
#[cfg(target_os = "linux")]
pub fn sockets() -> io::Result<impl Iterator<Item = io::Result<Socket>>> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    // Gathered first: the folder takes a descriptor, too.
    let open: Vec<_> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|open| open.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    Ok(open.into_iter().filter_map(move |number| {
        match pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()) {
            // Closed since the folder was read.
            Err(Errno::BADF) => None,
            duplicate => Some(duplicate.map(Socket::from).map_err(io::Error::from)),
        }
    }))
}

#[cfg(not(target_os = "linux"))]
pub fn sockets() -> io::Result<impl Iterator<Item = io::Result<Socket>>> {
    Err::<std::iter::Empty<_>, _>(io::ErrorKind::Unsupported.into())
}

/// Waits until every connection has ended.
///
/// Rocket looks only once before it waits for its whole grace period. Each of its connections and
/// each of its requests is a task, and nothing else is.
pub async fn drained() {
    let tasks = Handle::current().metrics();
    while tasks.num_alive_tasks() > 0 {
        sleep(LOOK_AGAIN).await;
    }
}
