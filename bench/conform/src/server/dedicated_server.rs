//! A process of a case's own: to stop it, to count what it holds, to start it with another flag.

use fleet::{Launch, Server, Usage};

use super::{Fault, Target};

/// The server that a case works with: its own, or the one that all cases share.
#[derive(Debug)]
pub(super) struct DedicatedServer {
    pub(super) target: Target,
    server: Option<Server>,
}

impl DedicatedServer {
    /// A process started for this case with these flags in place of those of the same names.
    pub(super) fn start(target: &Target, flags: &[(&str, &str)]) -> Result<DedicatedServer, Fault> {
        let launch = target.launch().ok_or_else(|| Fault::Skip("no process".to_owned()))?;
        let launch = with_flags(launch.clone(), flags);
        let harness = |error: anyhow::Error| Fault::Harness(format!("{error:#}"));
        let server = Server::start(&launch).map_err(harness)?;
        Ok(DedicatedServer { target: target.at(server.addr()), server: Some(server) })
    }

    /// A separate process where one can be started, or else the server that there is.
    pub(super) fn or_shared(target: &Target) -> Result<DedicatedServer, Fault> {
        match target.launch() {
            Some(_) => DedicatedServer::start(target, &[]),
            None => Ok(DedicatedServer { target: target.clone(), server: None }),
        }
    }

    /// CPU and memory of its process, if it was started for this case.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.server.as_ref().and_then(|server| server.usage().ok())
    }
}

fn with_flags(mut launch: Launch, flags: &[(&str, &str)]) -> Launch {
    for (name, value) in flags {
        // A flag may be given only once.
        if let Some(at) = launch.args.iter().position(|arg| arg == name) {
            launch.args.drain(at..(at + 2).min(launch.args.len()));
        }
        launch = launch.with_args([*name, *value]);
    }
    launch
}
