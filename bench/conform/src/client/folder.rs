//! Clients that are folders: `bench/clients/NAME/` with a `client.toml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::cases::is_case;
use super::driver::Capability;
use super::exec::{Description, Exec};
use super::run::PARALLEL;
use crate::{Deviation, Deviations};

/// The last lines of a failed build that are shown.
const BUILD_LINES: usize = 20;

/// A folder with a client.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) name: String,
    path: PathBuf,
    manifest: Manifest,
}

/// `client.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// As shown.
    name: String,
    /// Of the library; else what `--describe` says.
    version: Option<String>,
    #[serde(rename = "language")]
    _language: Option<String>,
    #[serde(rename = "url")]
    _url: Option<String>,
    /// Run in the folder before, if there is something to build.
    #[serde(default)]
    build: Vec<String>,
    /// Run in the folder, with the URL behind it.
    command: Vec<String>,
    /// Its capabilities; else those that `--describe` prints.
    capabilities: Option<Vec<Capability>>,
    /// How many of it may run at a time.
    parallel: Option<usize>,
    /// How long each step of it may take.
    patience_ms: Option<u64>,
    /// The client is another process than the command: its memory and CPU time are not seen.
    #[serde(default)]
    elsewhere: bool,
    #[serde(default)]
    deviation: Vec<Deviation>,
}

/// All folders, by name; `bench/clients` of the workspace that we are in.
pub(super) fn all() -> Result<Vec<Folder>> {
    let here = std::env::current_dir().context("cannot read the working directory")?;
    let root = here.ancestors().map(|it| it.join("bench/clients")).find(|it| it.is_dir());
    let root =
        root.context("there is no bench/clients here; run it in the workspace, or with --cmd")?;
    let mut folders = Vec::new();
    for entry in
        std::fs::read_dir(&root).with_context(|| format!("cannot read {}", root.display()))?
    {
        let path = entry.with_context(|| format!("cannot read {}", root.display()))?.path();
        if path.join("client.toml").is_file() {
            folders.push(Folder::read(&path)?);
        }
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

impl Folder {
    fn read(path: &Path) -> Result<Folder> {
        let file = path.join("client.toml");
        let shown = file.display();
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            anyhow::anyhow!("{shown}: {}", error.to_string().replace('\n', " "))
        })?;
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or(&manifest.name);
        Ok(Folder { name: name.to_owned(), path: path.to_owned(), manifest })
    }

    /// Builds it, and asks it what it offers; `parallel` of it run at a time, or the number that it
    /// says itself.
    pub(super) fn ready(&self, parallel: Option<u16>) -> Result<(Exec, Description)> {
        let manifest = &self.manifest;
        if let Some((program, arguments)) = manifest.build.split_first() {
            eprintln!("building {}", self.name);
            let mut build = Command::new(program);
            build.args(arguments).current_dir(&self.path).stdin(Stdio::null());
            fleet::outside_of_cargo(&mut build);
            let output =
                build.output().with_context(|| format!("{}: cannot run {program}", self.name))?;
            if !output.status.success() {
                // Its last line seldom says why: what a compiler or a full disk said stands above it.
                let words = String::from_utf8_lossy(&output.stderr);
                let lines: Vec<&str> = words.trim().lines().collect();
                for line in &lines[lines.len().saturating_sub(BUILD_LINES)..] {
                    eprintln!("  {line}");
                }
                bail!(
                    "{}: {} failed ({}); try it in {}",
                    self.name,
                    manifest.build.join(" "),
                    output.status,
                    self.path.display()
                );
            }
        }
        let parallel = parallel.map(usize::from).or(manifest.parallel).unwrap_or(PARALLEL);
        ensure!(parallel > 0, "{}: parallel is at least 1", self.name);
        let exec = Exec::words(&manifest.command, self.path.clone(), parallel)
            .with_context(|| self.name.clone())?
            .elsewhere(manifest.elsewhere);
        let mut description = match &manifest.capabilities {
            Some(capabilities) => {
                Description { capabilities: capabilities.clone(), ..Description::default() }
            }
            None => exec.describe()?,
        };
        description.name = Some(manifest.name.clone());
        description.version = manifest.version.clone().or(description.version);
        Ok((exec.with_capabilities(&description.capabilities), description))
    }

    /// Its known failures.
    pub(super) fn deviations(&self) -> Result<Deviations> {
        Deviations::of(self.manifest.deviation.clone(), is_case)
            .map_err(|words| anyhow::anyhow!("{}/client.toml: {words}", self.path.display()))
    }

    /// How long each step of it may take.
    pub(super) fn patience_ms(&self) -> Option<u64> {
        self.manifest.patience_ms
    }
}
