//! Servers of other ecosystems: each is started as its `server.toml` says, and judged in its room.

use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use fleet::{PORT, Peer, PeerAnswer, READY_DEADLINE};
use wire::publish::PublishArgs;

use super::check::{self, NoStream, Started, blank};
use super::{Selection, ServerArgs};
use crate::command::Kept;
use crate::report::{Paint, Run};
use crate::server::again::{self, quoted};
use crate::{Deviations, Profile};

/// Servers that are judged at a time: the cases wait far more than they compute.
const AT_ONCE: usize = 3;

/// A server, and the stream of it that is judged: an answer, or the room.
struct Task<'p> {
    peer: &'p Peer,
    answer: Option<&'p PeerAnswer>,
}

/// Judges them all; with the names of those that could not be started.
pub(super) fn judge(
    args: &ServerArgs,
    peers: &[Peer],
    selection: &Selection,
    paint: Paint,
    kept: &Kept,
) -> (Vec<Run>, Vec<String>) {
    let tasks: Vec<_> = peers.iter().flat_map(tasks).collect();
    let next = Mutex::new(tasks.iter().enumerate());
    let ended = Mutex::new(Vec::new());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|threads| {
        for _ in 0..AT_ONCE.min(tasks.len()) {
            threads.spawn(|| {
                while let Some((number, task)) = take() {
                    let label = task.blank(args).label();
                    eprintln!("[{}/{}] {label}", number + 1, tasks.len());
                    let run = task.run(args, selection, paint, kept).map_err(|error| {
                        eprintln!("{label}: {error:#}");
                        check::not_run(task.blank(args), &format!("{error:#}"))
                    });
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push((number, run));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|it| it.0);
    let failed = ended.iter().filter_map(|(_, run)| Some(run.as_ref().err()?.label()));
    let failed = failed.collect();
    (ended.into_iter().map(|(_, run)| run.unwrap_or_else(|run| run)).collect(), failed)
}

fn tasks(peer: &Peer) -> Vec<Task<'_>> {
    match peer.manifest.room {
        Some(_) => vec![Task { peer, answer: None }],
        None => peer.manifest.answer.iter().map(|it| Task { peer, answer: Some(it) }).collect(),
    }
}

impl Task<'_> {
    /// The run with nothing judged. Of several answers each has its path in place of an encoding.
    fn blank(&self, args: &ServerArgs) -> Run {
        let Peer { name, manifest, .. } = self.peer;
        let shown = args.name.clone().unwrap_or_else(|| name.clone());
        Run {
            encoding: self.answer.map(|it| it.path.trim_start_matches('/').to_owned()),
            framework: Some(format!("{} {}", manifest.name, manifest.version)),
            ..blank(args, shown, name, args.profile.unwrap_or(Profile::Full))
        }
    }

    fn run(
        &self,
        args: &ServerArgs,
        selection: &Selection,
        paint: Paint,
        kept: &Kept,
    ) -> Result<Run> {
        let Peer { folder, manifest, .. } = self.peer;
        let versions = self.peer.installed()?;
        let deviations = Deviations::read(folder).map_err(anyhow::Error::msg)?;
        let port = fleet::free_port()?;
        let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let mut theirs = ServerArgs {
            wait: args.wait.or(Some(READY_DEADLINE)),
            start_cmd: Some(start(self.peer, port)),
            ..args.clone()
        };
        let path = match (self.answer, &manifest.room) {
            (Some(answer), _) => {
                theirs.request.headers.extend(answer.headers.iter().cloned());
                theirs.request.data = Some(answer.body.clone());
                &answer.path
            }
            (None, Some(room)) => {
                theirs.publishing = PublishArgs::post(at(&room.publish), &room.body);
                &room.path
            }
            (None, None) => unreachable!("there is a task for each stream"),
        };
        let mut blank = self.blank(args);
        blank.framework = Some(format!("{} {versions}", manifest.name));
        let again = format!("sse-bench conform server {}", again::word(&self.peer.argument()));
        let started = Started { blank, deviations: &deviations, again };
        let run = check::url(&theirs, &at(path), selection, paint, kept, Some(&started));
        run.map_err(|error| match error.downcast::<NoStream>() {
            Ok(NoStream(words)) => anyhow::Error::msg(words),
            Err(error) => error,
        })
        .context("not judged")
    }
}

/// The shell command that starts it.
fn start(peer: &Peer, port: u16) -> String {
    let port = port.to_string();
    let words = peer.manifest.command.iter().map(|it| quoted(&it.replace(PORT, &port)));
    let words: Vec<_> = words.collect();
    format!("cd {} && {}", quoted(&peer.folder.display().to_string()), words.join(" "))
}
