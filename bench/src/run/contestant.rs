//! The subjects of a run: our servers in each encoding, those of others, the floor, and the twin.

use anyhow::{Context, Result, bail};
use fleet::{Launch, Package, Peer};
use load::stats::Distribution;
use load::{Room, Workload};
use wire::Trust;
use wire::publish::PublishArgs;

use super::Setup;
use super::progress::Progress;
use super::window::Measured;
use crate::report::{self, Cell, Row};

/// The encoding that all of ours have.
const SHARED: &str = "shared";

/// The subject measured under one name: a server in one encoding, or the floor.
#[derive(Debug, Default)]
pub(super) struct Contestant {
    /// Its row of the report, without the cells.
    pub(super) row: Row,
    pub(super) launch: Option<Launch>,
    pub(super) package: Option<Package>,
    /// Of a server of others.
    pub(super) room: Option<Room>,
    /// Its windows, for each workload.
    pub(super) measured: Vec<Vec<Measured>>,
}

impl Contestant {
    /// Whether it is measured under this workload: the twin is there to agree in the headlines, and a room carries
    /// what is published and nothing else.
    pub(super) fn meets(&self, workload: &Workload) -> bool {
        (self.row.twin_of.is_none() || workload.shape.has_headlines())
            && (self.room.is_none() || workload.shape.fits_a_room())
    }

    /// Its row of the report. Histograms are merged: percentiles are never averaged.
    pub(super) fn row(&self, workloads: &[Workload]) -> Row {
        let mut row = self.row.clone();
        let mine = workloads.iter().zip(&self.measured).filter(|it| self.meets(it.0));
        for (workload, measured) in mine {
            let mut all = load::ledger::new_histogram();
            for latencies in report::used(measured).iter().filter_map(|it| it.latencies.as_ref()) {
                // All have the same bounds.
                let _ = all.add(latencies);
            }
            row.cells.push(Cell {
                workload: workload.name.clone(),
                windows: measured.iter().map(|it| it.window.clone()).collect(),
                latency: Distribution::with_curve(&all),
                summary: None,
            });
        }
        row
    }
}

/// The floor, the second one if it is wanted, and each server in each of its encodings.
pub(super) fn build(setup: &Setup, progress: &mut Progress) -> Result<Vec<Contestant>> {
    let mut contestants = vec![floor(None, setup.floor.clone())];
    if let Some(ms) = setup.coalesce_ms {
        let launch = setup.floor.clone().with_args(["--coalesce-ms".to_owned(), ms.to_string()]);
        contestants.push(floor(Some(format!("coalescing {ms} ms")), launch));
    }
    let count = setup.servers.ours.len();
    for (index, package) in setup.servers.ours.iter().enumerate() {
        progress.hand_over(&format!("build {}/{count}  {}", index + 1, package.name));
        let built = fleet::build(package, true);
        if setup.is_interrupted() {
            bail!("interrupted before anything was measured");
        }
        for Variant { encoding, label, args } in variants(&package.encodings, setup.workers) {
            let is_checked = args.is_empty();
            contestants.push(Contestant {
                row: Row {
                    server: package.short_name().into(),
                    framework: package.framework.clone(),
                    framework_version: package.framework_version.clone(),
                    encoding: Some(label),
                    error: built.as_ref().err().map(|error| format!("{error:#}")),
                    ..Row::default()
                },
                launch: built
                    .as_ref()
                    .ok()
                    .map(|binary| package.launch(binary, &encoding).with_args(args)),
                package: is_checked.then(|| package.clone()),
                ..Contestant::default()
            });
        }
    }
    contestants.extend(setup.servers.peers.iter().map(peer));
    Ok(contestants)
}

/// A server of ours as it is measured.
struct Variant {
    encoding: String,
    /// The encoding and what else is special.
    label: String,
    args: Vec<String>,
}

/// Each encoding, or the shared one with each number of workers.
fn variants(encodings: &[String], workers: &[u32]) -> Vec<Variant> {
    if workers.is_empty() {
        let plain =
            |it: &String| Variant { encoding: it.clone(), label: it.clone(), args: Vec::new() };
        return encodings.iter().map(plain).collect();
    }
    let with = |workers: &u32| Variant {
        encoding: SHARED.into(),
        label: match workers {
            1 => SHARED.into(),
            more => format!("{SHARED}, {more} workers"),
        },
        args: vec!["--workers".into(), workers.to_string()],
    };
    workers.iter().map(with).collect()
}

/// A server of others as it is installed; one that is not is a row that says why.
fn peer(peer: &Peer) -> Contestant {
    let installed = peer.installed().and_then(|versions| Ok((versions, room(peer)?)));
    let mut row = Row {
        server: peer.name.clone(),
        framework: peer.manifest.name.clone(),
        framework_version: peer.manifest.version.clone(),
        ..Row::default()
    };
    match installed {
        Ok((versions, room)) => {
            row.framework_version = versions;
            Contestant {
                row,
                launch: Some(peer.launch()),
                room: Some(room),
                ..Contestant::default()
            }
        }
        Err(error) => {
            row.error = Some(format!("{error:#}"));
            Contestant { row, ..Contestant::default() }
        }
    }
}

/// Where it is measured.
fn room(peer: &Peer) -> Result<Room> {
    let no_room = "it has no [room]: nothing that can be published is measured";
    let room = peer.manifest.room.as_ref().context(no_room)?;
    // Each process has a port of its own, which replaces this one.
    let url = format!("http://127.0.0.1:1{}", room.publish);
    let publication = PublishArgs::post(url, &room.body).publication(&Trust::default());
    let publication = publication.map_err(anyhow::Error::msg)?.context(no_room)?;
    Ok(Room::new(&room.path, publication))
}

fn floor(encoding: Option<String>, launch: Launch) -> Contestant {
    let row = Row {
        server: report::FLOOR.into(),
        framework: report::FLOOR.into(),
        framework_version: env!("CARGO_PKG_VERSION").into(),
        encoding,
        ..Row::default()
    };
    Contestant { row, launch: Some(launch), ..Contestant::default() }
}

/// A second copy of the first server under another name: the two must not differ.
pub(super) fn add_twin(contestants: &mut Vec<Contestant>) {
    let original = contestants.iter().find(|it| !it.row.is_a_floor() && it.launch.is_some());
    let Some(original) = original else { return };
    let twin = Contestant {
        row: Row {
            twin_of: Some(original.row.key()),
            server: format!("{}{}", original.row.server, report::TWIN),
            framework: format!("{}{}", original.row.framework, report::TWIN),
            conformance: None,
            ..original.row.clone()
        },
        launch: original.launch.clone(),
        room: original.room.clone(),
        ..Contestant::default()
    };
    contestants.push(twin);
}

/// The stacks of others with their versions, and how they were set up.
pub(super) fn peers_note(contestants: &[Contestant]) -> Option<String> {
    let peers = contestants.iter().filter(|it| it.room.is_some() && it.row.twin_of.is_none());
    let stacks = peers.map(|it| {
        let Row { server, framework, framework_version, .. } = &it.row;
        format!("{server} is {framework} {framework_version}")
    });
    let stacks: Vec<_> = stacks.collect();
    let note = format!(
        "Servers of others run as their server.toml says, on one core like ours, and carry what is published: {}.",
        stacks.join("; ")
    );
    (!stacks.is_empty()).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::super::window::{self, Cores};
    use super::*;

    const ROOM: &str = "[room]\npath = \"/room\"\npublish = \"/say\"\nbody = \"{text}\"\n";
    const ANSWER: &str = "[[answer]]\npath = \"/v1\"\nbody = \"{}\"\n";

    /// A server that ends at once: with this exit code of its version command, and this stream.
    fn ending(name: &str, installed: u8, stream: &str) -> Contestant {
        let folder = std::env::temp_dir().join(format!("sse-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "name = \"their stack\"\nversion = \"1\"\nlanguage = \"sh\"\nurl = \"https://example.org/\"\n\
             version_command = [\"sh\", \"-c\", \"echo 1.2; exit {installed}\"]\n\
             command = [\"sh\", \"-c\", \"echo no room at {{port}} >&2; exit 3\"]\n{stream}"
        );
        std::fs::write(folder.join(fleet::MANIFEST), text).unwrap();
        let contestant = peer(&Peer::read(&folder).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
        contestant
    }

    #[test]
    fn a_server_of_others_that_cannot_be_measured_is_a_row_that_says_why() {
        let error = |name, installed, stream| {
            let it = ending(name, installed, stream);
            assert!(it.launch.is_none());
            it.row.error.unwrap()
        };
        let words = error("not-installed", 1, ROOM);
        assert!(words.starts_with("not installed: sse-bench servers install"), "{words}");
        let words = error("without-room", 0, ANSWER);
        assert!(words.starts_with("it has no [room]"), "{words}");
    }

    #[test]
    fn a_server_of_others_that_ends_is_a_fault_of_its_window() {
        let it = ending("ends", 0, ROOM);
        assert_eq!((it.row.framework_version.as_str(), it.row.error.as_deref()), ("1.2", None));
        assert!(!it.row.is_a_floor() && it.room.is_some());
        let launch = Launch { folder: None, ..it.launch.clone().unwrap() };
        let idle = Workload::idle(20, 1);
        let window =
            window::measure(&launch, it.room.as_ref(), &idle.shape, &Cores::default()).window;
        let fault = window.fault.unwrap();
        assert!(
            fault.contains("ended (exit status: 3) before it answered: no room at "),
            "{fault}"
        );
        // A room carries what is published, and silence.
        assert!(it.meets(&idle) && !it.meets(&Workload::ticks(1, 1)));
    }

    #[test]
    fn a_profile_of_workers_has_the_shared_encoding_with_each_number() {
        let encodings = ["shared".to_owned(), "native".to_owned()];
        let labels = |workers: &[u32]| {
            variants(&encodings, workers).into_iter().map(|it| it.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[]), ["shared", "native"]);
        assert_eq!(labels(&[1, 2]), ["shared", "shared, 2 workers"]);
        assert_eq!(variants(&encodings, &[2])[0].args, ["--workers", "2"]);
    }

    #[test]
    fn the_twin_is_of_a_server_of_others_where_there_is_none_of_ours() {
        let mut all = vec![floor(None, Launch::default()), ending("twin", 0, ROOM)];
        add_twin(&mut all);
        let twin = &all[2];
        assert!(twin.room.is_some() && twin.row.twin_of == Some(all[1].row.key()));
    }
}
