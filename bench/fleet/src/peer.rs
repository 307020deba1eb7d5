//! Servers of other ecosystems: a folder each, whose `server.toml` says how the server is installed, started and
//! spoken to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Launch, Program, READY_DEADLINE, Ready, last_line};

/// The folder of their folders, in a clone of this repository.
pub const PEERS: &str = "bench/servers";

/// The file that makes a folder a server.
pub const MANIFEST: &str = "server.toml";

/// How long an installation may take: Ruby and Node compile some of their packages.
const INSTALL_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How long the command may take that prints the versions.
const VERSION_DEADLINE: Duration = Duration::from_secs(30);

/// The words of an installation, in the folder that its own tools ignore.
const LOG: &str = "target/install.log";

/// A server of another ecosystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// The folder's name: `node-express`.
    pub name: String,
    /// Where `server.toml` lies.
    pub folder: PathBuf,
    /// The content of that file.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// `server.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The stack as it is shown: `express`.
    #[serde(rename(serialize = "stack"))]
    pub name: String,
    /// The version that the program was written for.
    pub version: String,
    /// The language that it is written in.
    pub language: String,
    /// The home of the stack.
    pub url: String,
    /// Programs on the path, or files, that it needs, and the Debian packages that have them.
    #[serde(default)]
    pub needs: BTreeMap<String, String>,
    /// Installs it: run in the folder.
    #[serde(default)]
    pub build: Vec<String>,
    /// Prints the versions that are installed, in one line; fails if there is none.
    pub version_command: Vec<String>,
    /// Starts it on 127.0.0.1, at the port that replaces [`super::PORT`]: run in the folder.
    pub command: Vec<String>,
    /// A stream of an event a second, or faster.
    pub ticks: Option<String>,
    /// A stream that is silent.
    pub rest: Option<String>,
    /// A stream that clients speak in.
    pub room: Option<PeerRoom>,
    /// Streams that answer a POST, and end.
    #[serde(default)]
    pub answer: Vec<PeerAnswer>,
}

/// A stream that clients speak in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRoom {
    /// Of the stream.
    pub path: String,
    /// Where a POST publishes.
    pub publish: String,
    /// The body that it posts, with the placeholders of `--publish-body`.
    pub body: String,
}

/// A stream that answers a POST, and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAnswer {
    /// Of the stream.
    pub path: String,
    /// Header lines of the request.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Its body.
    pub body: String,
}

impl Peer {
    /// The server of one folder.
    ///
    /// # Errors
    /// When there is no `server.toml`, or it is not as bench/servers/README.md says.
    pub fn read(folder: &Path) -> Result<Peer> {
        let file = folder.join(MANIFEST);
        let shown = file.display();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or(0, |it| text[..it.start].matches('\n').count() + 1);
            anyhow::anyhow!("{shown}, line {place}: {}", error.message())
        })?;
        let has_port = manifest.command.iter().any(|word| word.contains(super::PORT));
        ensure!(has_port, "{shown}: `command` has no {}", super::PORT);
        ensure!(
            manifest.room.is_some() || !manifest.answer.is_empty(),
            "{shown}: it has neither a [room] nor an [[answer]]; there is nothing to judge"
        );
        ensure!(!manifest.version_command.is_empty(), "{shown}: `version_command` is empty");
        let folder = folder.canonicalize().with_context(|| format!("cannot read {shown}"))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Peer { name, folder, manifest })
    }

    /// All servers whose folders lie in this one, in the order of their names.
    ///
    /// # Errors
    /// When the folder cannot be read, or one of them is not as it should be.
    pub fn read_all(root: &Path) -> Result<Vec<Peer>> {
        let cannot = || format!("cannot read {}", root.display());
        let mut folders = Vec::new();
        for entry in fs::read_dir(root).with_context(cannot)? {
            let folder = entry.with_context(cannot)?.path();
            if folder.join(MANIFEST).is_file() {
                folders.push(folder);
            }
        }
        folders.sort();
        folders.iter().map(|it| Peer::read(it)).collect()
    }

    /// Its name in commands: the path, where its folder is none of [`PEERS`].
    pub fn argument(&self) -> String {
        match self.folder.ends_with(Path::new(PEERS).join(&self.name)) {
            true => self.name.clone(),
            false => self.folder.display().to_string(),
        }
    }

    /// The first thing that it needs and that is not here, with the command that installs it.
    pub fn missing(&self) -> Option<String> {
        let is_here = |need: &str| match need.contains('/') {
            true => Path::new(need).exists(),
            false => is_on_path(need),
        };
        let (need, packages) = self.manifest.needs.iter().find(|(need, _)| !is_here(need))?;
        Some(format!("{need} is missing: apt-get install {packages}"))
    }

    /// The versions that are installed.
    ///
    /// # Errors
    /// One line that says what to do: it is not installed.
    pub fn installed(&self) -> Result<String> {
        if let Some(missing) = self.missing() {
            bail!("{missing}");
        }
        let mut command = self.command(&self.manifest.version_command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let versions = Program::start(&mut command).ok().and_then(|mut program| {
            let line = program.lines()?.next_line(VERSION_DEADLINE).ok()??;
            let status = program.wait(VERSION_DEADLINE).ok()??;
            Some(line.trim().to_owned()).filter(|it| status.success() && !it.is_empty())
        });
        versions.with_context(|| {
            format!("not installed: sse-bench servers install {}", self.argument())
        })
    }

    /// Installs it as its `build` says, and returns the versions that are then there.
    ///
    /// # Errors
    /// One line: what is missing, or the last words of the installation and where all of them are.
    pub fn install(&self) -> Result<String> {
        if let Some(missing) = self.missing() {
            bail!("{missing}");
        }
        if !self.manifest.build.is_empty() {
            self.build()?;
        }
        let asked = self.manifest.version_command.join(" ");
        self.installed().with_context(|| format!("it says no version: {asked}"))
    }

    fn build(&self) -> Result<()> {
        let path = self.folder.join(LOG);
        let shown = path.display();
        let cannot = || format!("cannot write {shown}");
        fs::create_dir_all(path.parent().unwrap_or(&path)).with_context(cannot)?;
        let log = File::create(&path).with_context(cannot)?;
        let mut command = self.command(&self.manifest.build);
        let errors = log.try_clone().with_context(cannot)?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let program = Program::start(&mut command).and_then(Program::kill_on_exit);
        let tool = &self.manifest.build[0];
        let mut program = program.with_context(|| format!("cannot run {tool}"))?;
        match program.wait(INSTALL_DEADLINE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let words = last_line(&fs::read(&path).unwrap_or_default());
                bail!("{tool} ended with {status}: {words} ({shown} has all of it)")
            }
            None => bail!("{tool} had not ended after {INSTALL_DEADLINE:?} ({shown})"),
        }
    }

    /// How it is started.
    pub fn launch(&self) -> Launch {
        let (program, args) = self.manifest.command.split_first().expect("read has seen a port");
        Launch {
            binary: self.program(program),
            args: args.to_vec(),
            folder: Some(self.folder.clone()),
            ready: Ready::Answer { within: READY_DEADLINE },
            core: None,
        }
    }

    /// A command that runs in the folder.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(self.program(&words[0]));
        command.args(&words[1..]).current_dir(&self.folder);
        super::outside_of_cargo(&mut command);
        command
    }

    /// `.venv/bin/x` is a path from the folder; where a relative one begins else is not the same on all systems.
    fn program(&self, word: &str) -> PathBuf {
        if word.contains('/') { self.folder.join(word) } else { word.into() }
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
