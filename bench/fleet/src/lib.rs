//! Servers as processes: find, build or install, start, observe, stop.
//!
//! The harness sees a server only through its socket and its process, so a server in any language
//! stands here. No list of servers is written down: a package with `[package.metadata.server]`
//! in its manifest is one of ours, and a folder with a `server.toml` is a peer.

mod eventually;
mod kill_on_exit;
mod names;
mod peer;
mod process;
mod program;
mod signals;
mod usage;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use cargo_metadata::{Message, Metadata, MetadataCommand, TargetKind};
use serde::{Deserialize, Serialize};

pub use cargo_metadata;
pub use eventually::eventually;
pub use names::did_you_mean;
pub use peer::{MANIFEST, Manifest, PEERS, Peer, PeerAnswer, PeerRoom};
pub use process::{
    Launch, PORT, READY_DEADLINE, Ready, STDERR_KEPT_BYTES, STOP_DEADLINE, Server, Stopped,
    allowed_cores, free_port, on_core, pin_current_thread, raise_fd_limit,
};
pub use program::{Lines, Program, Tail};
pub use signals::stopped_by_signals;
pub use usage::{Usage, cpu_of, cpu_of_all, memory_of, waited_for_a_core};

/// Descriptors that a load needs beside one for each connection: epoll, timers, pipes, files.
pub const SPARE_FDS: u64 = 64;

/// The example that a server's folder may have, and its name among the encodings: the framework's
/// own event type as its documentation shows it, at `/ticks`, and nothing else.
pub const SMALLEST: &str = "smallest";

/// Advice where there is no workspace.
const ELSEWHERE: &str = "servers with names are those of this command's repository: run it in a clone \
                         with Rust from https://rustup.rs, or give the URL of any server";

/// A server package of this workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Cargo's name, `sse-axum`.
    pub name: String,
    /// Where its manifest lies.
    pub folder: PathBuf,
    /// The framework that its manifest names: `axum`.
    pub framework: String,
    /// The framework's version in `Cargo.lock`, or rustc's for a server without a framework.
    pub framework_version: String,
    /// The values of `--encoding` that it offers.
    pub encodings: Vec<String>,
}

impl Package {
    /// The name without `sse-`: `axum`.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix("sse-").unwrap_or(&self.name)
    }

    /// The folder's own name: `3_axum`.
    pub fn folder_name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or(&self.name)
    }

    /// Whether it has `examples/smallest.rs`.
    pub fn has_smallest(&self) -> bool {
        self.folder.join("examples").join(SMALLEST).with_extension("rs").exists()
    }

    /// The number that its folder begins with, so that `10_` comes after `9_`.
    fn number(&self) -> Option<u32> {
        self.folder_name().split('_').next()?.parse().ok()
    }

    /// How a launch of this package's `binary` with `encoding` looks.
    pub fn launch(&self, binary: &Path, encoding: &str) -> Launch {
        Launch {
            binary: binary.to_owned(),
            args: vec!["--encoding".into(), encoding.into()],
            ..Launch::default()
        }
    }
}

/// The servers that some names mean.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// Packages of this workspace, in the order of folders.
    pub ours: Vec<Package>,
    /// Servers of other ecosystems, in the order of names.
    pub peers: Vec<Peer>,
}

impl Servers {
    /// The servers that these names mean, each once: `ours`, `peers`, `all`, the name of a package or of a folder of
    /// [`PEERS`], or the path, with a `/`, of any folder that has a [`MANIFEST`].
    ///
    /// # Errors
    /// As [`discover`] and [`Peer::read`], and for a name that there is not; the text names those that exist.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Result<Servers> {
        let (paths, names): (Vec<_>, Vec<_>) =
            names.iter().map(AsRef::as_ref).partition(|it: &&str| it.contains('/'));
        let known = if names.is_empty() { Servers::default() } else { Servers::all()? };
        let mut chosen = Servers::default();
        for name in names {
            match name {
                "ours" => chosen.ours.extend(known.ours.iter().cloned()),
                "peers" => chosen.peers.extend(known.peers.iter().cloned()),
                "all" => {
                    chosen.ours.extend(known.ours.iter().cloned());
                    chosen.peers.extend(known.peers.iter().cloned());
                }
                name => match known.peers.iter().find(|it| it.name == name) {
                    Some(peer) => chosen.peers.push(peer.clone()),
                    None => chosen.ours.push(known.package(name)?.clone()),
                },
            }
        }
        for path in paths {
            chosen.peers.push(Peer::read(Path::new(path))?);
        }
        // In the order of the field, whatever the order of the names, so that reports compare.
        let place = |it: &Package| known.ours.iter().position(|known| known.name == it.name);
        chosen.ours.sort_by_key(place);
        chosen.ours.dedup();
        chosen.peers.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
        chosen.peers.dedup();
        Ok(chosen)
    }

    /// All of the clone that the current directory is in.
    ///
    /// # Errors
    /// As [`discover`] and [`Peer::read`].
    pub fn all() -> Result<Servers> {
        let root: PathBuf = metadata()?.workspace_root.into();
        let ours = discover()?;
        let peers = root.join(PEERS);
        let peers = if peers.is_dir() { Peer::read_all(&peers)? } else { Vec::new() };
        Ok(Servers { ours, peers })
    }

    fn package(&self, name: &str) -> Result<&Package> {
        position(&self.ours, name).map(|at| &self.ours[at]).ok_or_else(|| {
            let ours = self.ours.iter().map(Package::short_name);
            let peers = self.peers.iter().map(|it| it.name.as_str());
            let known: Vec<_> = ours.chain(peers).chain(["ours", "peers", "all"]).collect();
            no_server(name, &known)
        })
    }

    /// Those of this workspace, for a command that has no other subject.
    ///
    /// # Errors
    /// When servers of others are among them.
    pub fn only_ours(self) -> Result<Vec<Package>> {
        match self.peers.first() {
            Some(peer) => bail!(
                "{} is a server of others, and this command is for servers of this repository; `ours` names them",
                peer.name
            ),
            None => Ok(self.ours),
        }
    }

    /// Whether the names meant none.
    pub fn is_empty(&self) -> bool {
        self.ours.is_empty() && self.peers.is_empty()
    }
}

/// Finds every server of the workspace that the current directory is in, in the order of folders.
///
/// # Errors
/// When `cargo metadata` fails, or finds no server: most likely the directory is in no clone of this
/// repository.
pub fn discover() -> Result<Vec<Package>> {
    let metadata = metadata()?;
    // Before the lock file: another project need not have one.
    if metadata.packages.iter().all(|it| it.metadata.get("server").is_none()) {
        bail!("{} has no server with a name; {ELSEWHERE}", metadata.workspace_root);
    }
    let lock = std::fs::read_to_string(metadata.workspace_root.join("Cargo.lock"))
        .context("cannot read Cargo.lock; run cargo generate-lockfile")?;

    let mut packages = Vec::new();
    for package in metadata.packages {
        let Some(server) = package.metadata.get("server") else { continue };
        let server = ServerTable::deserialize(server)
            .with_context(|| format!("[package.metadata.server] of {}", package.name))?;
        let mut dependencies = package.dependencies.iter();
        let framework_version = match dependencies.find(|it| it.name == server.framework) {
            Some(dependency) => {
                locked_version(&lock, &dependency.name, &dependency.req.to_string())
                    .with_context(|| format!("Cargo.lock has no {}", dependency.name))?
            }
            None => rustc_version()?,
        };
        let folder = package.manifest_path.parent().map(|it| it.as_std_path().to_owned());
        packages.push(Package {
            name: package.name.to_string(),
            folder: folder.unwrap_or_default(),
            framework: server.framework,
            framework_version,
            encodings: server.encodings,
        });
    }
    packages.sort_by_cached_key(|it| (it.number(), it.folder.clone()));
    Ok(packages)
}

/// All that `cargo metadata` says of the members of the workspace that we are in.
///
/// # Errors
/// As [`discover`].
pub fn metadata() -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.no_deps().other_options(["--offline".to_owned()]).exec().map_err(|error| match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            anyhow!("cargo metadata failed ({}); {ELSEWHERE}", last_line(stderr.as_bytes()))
        }
        error => anyhow!("cannot run cargo to find the servers ({error}); {ELSEWHERE}"),
    })
}

/// Where cargo puts what it builds, and the harness its reports.
///
/// # Errors
/// As [`discover`].
pub fn target_directory() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into())
}

/// The package that `name` means: the full name, the folder, or the name without `sse-`.
///
/// # Errors
/// When there is none; the text names those that exist.
pub fn find<'a>(packages: &'a [Package], name: &str) -> Result<&'a Package> {
    position(packages, name).map(|at| &packages[at]).ok_or_else(|| {
        let known: Vec<_> = packages.iter().map(Package::short_name).collect();
        no_server(name, &known)
    })
}

fn position(packages: &[Package], name: &str) -> Option<usize> {
    let is_it =
        |it: &Package| [it.name.as_str(), it.short_name(), it.folder_name()].contains(&name);
    packages.iter().position(is_it)
}

fn no_server(name: &str, known: &[&str]) -> anyhow::Error {
    let near = did_you_mean(name, known.iter().copied());
    anyhow!("there is no server {name:?}{near}; choose one of: {}", known.join(", "))
}

/// Builds one package and returns its binary.
///
/// One at a time on purpose: `cargo build --workspace` unifies features over all members, and a
/// framework would be measured with features that its own manifest did not ask for.
/// Honours `CARGO_TARGET_DIR`; may be called from within `cargo test`.
///
/// # Errors
/// When cargo fails; on a terminal its own words stand above the error.
pub fn build(package: &Package, release: bool) -> Result<PathBuf> {
    build_binary(package, &[], profile(release))
}

/// A release build that knows from which line of which file an instruction comes: the profile `cost`.
///
/// # Errors
/// As [`build`].
pub fn build_with_lines(package: &Package) -> Result<PathBuf> {
    build_binary(package, &[], "cost")
}

/// Builds one package with these features, and returns a binary beside the default one, which stays
/// what it is by the next [`build`].
///
/// # Errors
/// As [`build`].
pub fn build_with(package: &Package, features: &[&str], release: bool) -> Result<PathBuf> {
    let features = features.join(",");
    let built = build_binary(package, &["--features", &features], profile(release))?;
    keep(&built, &format!("{}-{features}", package.name))
}

/// Builds `examples/smallest.rs` of a package and returns how to start it.
///
/// # Errors
/// As [`build`].
pub fn build_smallest(package: &Package, release: bool) -> Result<Launch> {
    let built =
        build_target(package, &TargetKind::Example, &["--example", SMALLEST], profile(release))?;
    let built = built.with_context(|| format!("{} has no example {SMALLEST}", package.name))?;
    // The next package builds its example to the same path.
    let binary = keep(&built, &format!("{}-{SMALLEST}", package.name))?;
    Ok(Launch { binary, args: vec![PORT.into()], ..Launch::default() })
}

/// A copy of a program beside it, under another name.
fn keep(built: &Path, name: &str) -> Result<PathBuf> {
    let kept = built.with_file_name(name);
    let new = built.with_file_name(format!("{name}-{}", std::process::id()));
    // A rename replaces in one step what another process may be running.
    std::fs::copy(built, &new).and_then(|_| std::fs::rename(&new, &kept))?;
    Ok(kept)
}

/// The name of a profile as cargo takes it.
fn profile(release: bool) -> &'static str {
    if release { "release" } else { "dev" }
}

fn build_binary(package: &Package, selection: &[&str], profile: &str) -> Result<PathBuf> {
    let binary = build_target(package, &TargetKind::Bin, selection, profile)?;
    binary.ok_or_else(|| anyhow!("{} has no binary; a server needs src/main.rs", package.name))
}

/// Builds the targets of a kind, as `selection` says, and returns the program, if there is one.
fn build_target(
    package: &Package,
    kind: &TargetKind,
    selection: &[&str],
    profile: &str,
) -> Result<Option<PathBuf>> {
    let mut command = cargo();
    command
        .args(["build", "--message-format", "json-render-diagnostics", "--package", &package.name])
        .args(["--profile", profile])
        .args(selection)
        .arg("--manifest-path")
        .arg(package.folder.join("Cargo.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // People watch cargo's progress; a log or a test wants it only when it fails.
    let watched = io::stderr().is_terminal();
    command.stderr(if watched { Stdio::inherit() } else { Stdio::piped() });
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        if !watched {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
        }
        bail!("{} does not build; see cargo's words above", package.name);
    }
    let artifacts = Message::parse_stream(&*output.stdout).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) => Some(artifact),
        _ => None,
    });
    let mut of_kind = artifacts.filter(|it| it.target.kind.contains(kind));
    Ok(of_kind.find_map(|artifact| artifact.executable).map(Into::into))
}

/// cargo, as a shell would run it.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    outside_of_cargo(&mut cargo);
    cargo
}

/// Takes away what cargo tells a program that it runs about its package. A build script that reads the name of its
/// package, as ring's does, is run again where the variable differs: ring and all above it would be built anew.
pub fn outside_of_cargo(command: &mut Command) {
    let is_of_package =
        |it: &str| it.starts_with("CARGO_PKG_") || it.starts_with("CARGO_MANIFEST_");
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_of_package(name)) {
        command.env_remove(name);
    }
}

fn rustc_version() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_ascii_whitespace().nth(1).map(str::to_owned).context("rustc has no version")
}

/// The version of `name` in a `Cargo.lock`; where there are several, the one that `req` pins.
fn locked_version(lock: &str, name: &str, req: &str) -> Option<String> {
    let key = format!("name = \"{name}\"\nversion = \"");
    let versions: Vec<&str> =
        lock.split(&key).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let pinned = req.trim_start_matches('=');
    versions.iter().find(|version| **version == pinned).or(versions.first()).map(|it| (*it).into())
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// `[package.metadata.server]` of a manifest.
#[derive(Deserialize)]
struct ServerTable {
    framework: String,
    encodings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_servers_with_their_versions_and_names_those_that_exist() {
        let packages = discover().unwrap();
        let axum = find(&packages, "axum").unwrap();
        assert_eq!(find(&packages, "sse-axum").unwrap(), axum);
        assert_eq!(find(&packages, axum.folder_name()).unwrap(), axum);
        assert!(axum.framework_version.starts_with("0."), "{}", axum.framework_version);
        assert!(packages.is_sorted_by_key(Package::number));
        let error = find(&packages, "nope").unwrap_err().to_string();
        assert!(error.contains("\"nope\"") && error.contains("axum"), "{error}");
    }

    #[test]
    fn names_mean_ours_peers_all_one_or_a_folder() {
        let named = |names: &[&str]| Servers::named(names).unwrap();
        let count = |names: &[&str]| (named(names).ours.len(), named(names).peers.len());
        let ours = discover().unwrap();
        let (all, peers) = (count(&["all"]), count(&["peers"]));
        assert_eq!((count(&["ours"]), peers.0), ((ours.len(), 0), 0));
        assert_eq!(all, (ours.len(), peers.1));
        assert!(peers.1 >= 10, "{peers:?}");
        // Each once, in the order of the field.
        let [first, .., last] = ours.as_slice() else { panic!("{ours:?}") };
        let names = ["node-http", last.short_name(), &first.name, "node-http", "go-nethttp"];
        let some = named(&names);
        assert_eq!(some.ours, [first.clone(), last.clone()]);
        let names: Vec<_> = some.peers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["go-nethttp", "node-http"]);
        let folder = some.peers[0].folder.display().to_string();
        assert_eq!(named(&[&folder]).peers, some.peers[..1]);
        let error = Servers::named(&["nope"]).unwrap_err().to_string();
        for known in ["\"nope\"", first.short_name(), "node-http", "peers"] {
            assert!(error.contains(known), "{error}");
        }
    }

    #[test]
    fn takes_the_pinned_one_of_several_locked_versions() {
        let lock = "name = \"h2\"\nversion = \"0.3.1\"\n\nname = \"h2\"\nversion = \"0.4.2\"\n";
        assert_eq!(locked_version(lock, "h2", "=0.4.2").as_deref(), Some("0.4.2"));
        assert_eq!(locked_version(lock, "h2", "^0").as_deref(), Some("0.3.1"));
        assert_eq!(locked_version(lock, "h3", "^0"), None);
    }
}
