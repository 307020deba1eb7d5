//! Everything that the site shows: who was judged and measured, when, and by which cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conform::report::{self, Document, Run};
use conform::{Described, Requirements, Side};
use serde::Deserialize;
use serde_json::Value;

use crate::report::{JSON_NAME, Report, SCHEMA};
use crate::run::SCALING;

/// Text of a program that is shown; a larger file is no small program.
const PROGRAM_BYTES: u64 = 32 * 1024;

/// Files that tools write, or that say nothing of the program.
const NO_PROGRAM: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "Gemfile.lock",
    "client.toml",
    "package-lock.json",
    "package.json",
    "requirements.in",
    "requirements.txt",
    "go.sum",
];

/// Folders that tools write.
const NO_SOURCE: [&str; 3] = ["node_modules", "target", "__pycache__"];

/// Everything that is known.
pub(super) struct Field {
    /// Those of servers first, in the order of their folders and names.
    pub(super) implementations: Vec<Implementation>,
    /// Each with the name of its folder, the oldest first.
    pub(super) reports: Vec<(String, Report)>,
    /// Every case, of both sides.
    pub(super) cases: Vec<Described>,
    /// The oldest first.
    pub(super) sets: Vec<Requirements>,
    /// Findings of a curated result, each with the name of its folder, the newest first.
    pub(super) findings: Vec<(String, String)>,
    /// Folders of results with verdicts, and whose they are.
    pub(super) matrices: Vec<(String, Side)>,
    /// The root of the checkout.
    pub(super) root: PathBuf,
}

/// A server or a client.
pub(super) struct Implementation {
    pub(super) side: Side,
    /// As its runs and its row in a report are called.
    pub(super) name: String,
    /// Its name in addresses.
    pub(super) stem: String,
    /// Its stack and the version.
    pub(super) stack: String,
    pub(super) language: Option<String>,
    pub(super) home: Option<String>,
    /// Path and text of each file of it that is worth reading.
    pub(super) program: Vec<(String, String)>,
    /// Every run that is kept, the newest first.
    pub(super) runs: Vec<Run>,
}

/// `server.toml` or `client.toml`: what it says of the software.
#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: Option<String>,
    language: Option<String>,
    url: Option<String>,
}

impl Field {
    /// Reads a checkout, and says on stderr which results it cannot show.
    pub(super) fn read(root: &Path) -> Result<Field> {
        let mut field = Field {
            implementations: ours()?,
            reports: Vec::new(),
            cases: conform::described(),
            sets: Requirements::read_all(&root.join("bench/conform/requirements"))?,
            findings: Vec::new(),
            matrices: Vec::new(),
            root: root.to_owned(),
        };
        for (side, folder) in [(Side::Server, "bench/servers"), (Side::Client, "bench/clients")] {
            field.implementations.extend(foreign(root, side, folder)?);
        }
        field.read_results(&root.join("bench/results"))?;
        field.implementations.sort_by_key(|it| it.side);
        Ok(field)
    }

    fn read_results(&mut self, results: &Path) -> Result<()> {
        let mut runs = Vec::new();
        // Names of folders begin with the date.
        for folder in entries(results)?.into_iter().filter(|it| it.is_dir()) {
            let name = file_name(&folder);
            for file in entries(&folder)? {
                if file_name(&file) == "findings.md" {
                    let text = read(&file)?;
                    self.findings.insert(0, (name.clone(), text));
                }
                if file.extension().is_none_or(|it| it != "json") {
                    continue;
                }
                let value: Value = serde_json::from_str(&read(&file)?)
                    .with_context(|| format!("{} is not JSON", file.display()))?;
                let schema = value.get("schema");
                if schema.and_then(Value::as_str) == Some(report::SCHEMA) {
                    let read = Document::read(&[&file])?.runs;
                    self.matrices.extend(read.first().map(|it| (name.clone(), it.side())));
                    runs.extend(read);
                } else if schema.and_then(Value::as_u64) == Some(u64::from(SCHEMA))
                    && file_name(&file) == JSON_NAME
                {
                    self.reports.push((name.clone(), Report::load(&folder)?));
                } else if !is_of_another_command(&value) {
                    eprintln!("{} is no report of this version, left out", file.display());
                }
            }
        }
        runs.sort_by(|a, b| b.began.cmp(&a.began));
        for run in runs {
            self.add(run);
        }
        Ok(())
    }

    /// Gives a run to its server or client; to a new one if its folder is gone.
    fn add(&mut self, run: Run) {
        let side = run.side();
        let is_it = |it: &Implementation| {
            it.side == side && (it.name == run.name || it.stem == stem_of(&run.name))
        };
        let at = self.implementations.iter().position(is_it).unwrap_or_else(|| {
            let stack = run.framework.clone().unwrap_or_default();
            self.implementations.push(Implementation::new(side, &run.name, stack));
            self.implementations.len() - 1
        });
        let it = &mut self.implementations[at];
        // The verdicts are of this version.
        if it.runs.is_empty()
            && let Some(framework) = &run.framework
        {
            it.stack.clone_from(framework);
        }
        it.runs.push(run);
    }

    /// Those of one side.
    pub(super) fn of(&self, side: Side) -> impl Iterator<Item = &Implementation> {
        self.implementations.iter().filter(move |it| it.side == side)
    }

    /// The newest run of each program of one side, with what it is a program of.
    pub(super) fn latest(&self, side: Side) -> Vec<(&Implementation, &Run)> {
        self.of(side).flat_map(|it| it.latest().into_iter().map(move |run| (it, run))).collect()
    }

    /// The newest runs of one side as a matrix has them.
    pub(super) fn document(&self, side: Side) -> Document {
        Document::new(self.latest(side).into_iter().map(|it| it.1.clone()).collect())
    }

    /// The newest measurement of usual loads.
    pub(super) fn figures(&self) -> Option<&Report> {
        self.newest(|it| it.profile != SCALING)
    }

    /// The newest measurement of how cost grows.
    pub(super) fn scaling(&self) -> Option<&Report> {
        self.newest(|it| it.profile == SCALING)
    }

    fn newest(&self, is_it: impl Fn(&Report) -> bool) -> Option<&Report> {
        self.reports.iter().rev().map(|it| &it.1).find(|it| is_it(it))
    }
}

impl Implementation {
    fn new(side: Side, name: &str, stack: String) -> Implementation {
        Implementation {
            side,
            name: name.to_owned(),
            stem: stem_of(name),
            stack,
            language: None,
            home: None,
            program: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// The newest run of each of its programs, in the order in which they ran.
    pub(super) fn latest(&self) -> Vec<&Run> {
        let mut latest: BTreeMap<String, &Run> = BTreeMap::new();
        for run in self.runs.iter().rev() {
            latest.insert(run.label(), run);
        }
        let mut latest: Vec<&Run> = latest.into_values().collect();
        latest.sort_by(|a, b| a.began.cmp(&b.began));
        latest
    }

    /// The address of its page, from the root of the site.
    pub(super) fn page(&self) -> String {
        format!("{}/{}.html", side_word(self.side), self.stem)
    }
}

/// `server` or `client`.
pub(super) fn side_word(side: Side) -> &'static str {
    match side {
        Side::Server => "server",
        Side::Client => "client",
    }
}

/// The servers of this workspace.
fn ours() -> Result<Vec<Implementation>> {
    let packages = fleet::discover()?;
    let of = |package: &fleet::Package| {
        let stack = format!("{} {}", package.framework, package.framework_version);
        let mut it = Implementation::new(Side::Server, package.short_name(), stack);
        it.language = Some("Rust".to_owned());
        for path in ["examples/smallest.rs", "src/main.rs"] {
            if let Ok(text) = std::fs::read_to_string(package.folder.join(path)) {
                it.program.push((format!("{}/{path}", package.folder_name()), text));
            }
        }
        it
    };
    Ok(packages.iter().map(of).collect())
}

/// The servers or clients of other ecosystems: a folder each.
fn foreign(root: &Path, side: Side, folder: &str) -> Result<Vec<Implementation>> {
    let mut found = Vec::new();
    for path in entries(&root.join(folder))? {
        let manifest = path.join(format!("{}.toml", side_word(side)));
        if !manifest.is_file() {
            continue;
        }
        let manifest: Manifest = toml::from_str(&read(&manifest)?)
            .with_context(|| format!("{} is not as it should be", manifest.display()))?;
        let stack = match &manifest.version {
            Some(version) => format!("{} {version}", manifest.name),
            None => manifest.name.clone(),
        };
        let mut it = Implementation::new(side, &manifest.name, stack);
        it.stem = stem_of(&file_name(&path));
        (it.language, it.home) = (manifest.language, manifest.url);
        program(root, &path, &mut it.program)?;
        found.push(it);
    }
    Ok(found)
}

/// The files of a folder that a person wrote.
fn program(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    for path in entries(folder)? {
        let name = file_name(&path);
        if name.starts_with('.') || NO_PROGRAM.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            if !NO_SOURCE.contains(&name.as_str()) {
                program(root, &path, found)?;
            }
        } else if path.metadata().is_ok_and(|it| it.len() <= PROGRAM_BYTES)
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.push((shown, text));
        }
    }
    Ok(())
}

/// The entries of a folder, in the order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(cannot)?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|it| Ok(it?.path())).collect();
    let mut paths = paths.with_context(cannot)?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A name for an address: letters, digits and `-`.
fn stem_of(name: &str) -> String {
    let safe = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
    name.chars().map(safe).collect::<String>().trim_matches('-').to_owned()
}

/// The checkout that we are in.
pub(super) fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot read the working directory")?;
    match here.ancestors().find(|it| it.join("bench/results").is_dir()) {
        Some(root) => Ok(root.to_owned()),
        None => bail!("there is no bench/results here; run it in a clone of its repository"),
    }
}

/// Whether these are results of a command that has no page here: its folder has a README of its own.
fn is_of_another_command(value: &Value) -> bool {
    let command = value["command"].as_str().unwrap_or_default();
    ["attack", "bus", "chaos", "soak"]
        .iter()
        .any(|it| command.starts_with(&format!("sse-bench {it} ")))
}
