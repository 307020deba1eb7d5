//! The work around Rocket's own listener: report its address, report why it cannot listen, and wait
//! until all connections have ended.
//!
//! Rocket 0.5 binds by itself and takes no listener of ours, so it keeps a backlog of 128 and has
//! no limit on a write; 0.6 will take one
//! ([Rocket#2933](https://github.com/rwf2/Rocket/issues/2933)).

use std::net::SocketAddr;
use std::time::Duration;

use feed::Failure;
use feed::listen::{announce, cannot_listen};
use feed::settings::Settings;
use rocket::error::ErrorKind;
use rocket::fairing::AdHoc;
use rocket::{Ignite, Rocket};
use tokio::runtime::Handle;
use tokio::time::sleep;

/// Time between two checks of the remaining tasks: short beside the 2 s that the contract gives.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Reports that connections are accepted now, and at which address: the port may have been 0.
pub fn announcement() -> AdHoc {
    AdHoc::on_liftoff("announcement", |rocket| {
        let config = rocket.config();
        announce(SocketAddr::new(config.address, config.port));
        Box::pin(async {})
    })
}

/// How the launch ended; if the port is taken, in the words of the other servers.
///
/// # Errors
/// Those of Rocket.
pub fn ended(
    launched: Result<Rocket<Ignite>, rocket::Error>,
    settings: &Settings,
) -> Result<(), Failure> {
    let Err(error) = launched else { return Ok(()) };
    Err(match error.kind() {
        ErrorKind::Bind(cause) => cannot_listen(settings, cause).into(),
        _ => error.into(),
    })
}

/// Waits until every connection has ended.
///
/// Rocket looks only once before it waits for its whole grace period: `default_tcp_http_server` in
/// [`server.rs`](https://github.com/rwf2/Rocket/blob/v0.5.2/core/lib/src/server.rs). Each of its
/// connections and each of its requests is a task, and nothing else is.
pub async fn drained() {
    let tasks = Handle::current().metrics();
    while tasks.num_alive_tasks() > 0 {
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use log::{LevelFilter, STATIC_MAX_LEVEL};

    #[test]
    fn what_other_crates_log_does_not_get_to_stdout() {
        assert_eq!(STATIC_MAX_LEVEL, LevelFilter::Off);
    }
}
