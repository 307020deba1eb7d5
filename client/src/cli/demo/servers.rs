//! The servers of this workspace: found by what their manifests say, built when they are needed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Mutex;

/// A package with `[package.metadata.server]` in its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) framework: String,
}

impl Package {
    /// The name without `sse-`.
    pub(super) fn short_name(&self) -> &str {
        self.name.strip_prefix("sse-").unwrap_or(&self.name)
    }

    fn folder_name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// All servers, in the order of their folders.
pub(super) async fn discover() -> anyhow::Result<Vec<Package>> {
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .await
        .context("cannot run cargo; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("there is no workspace here; run the demo inside the repository");
    }
    let packages = read_metadata(&serde_json::from_slice(&output.stdout)?);
    if packages.is_empty() {
        bail!("this workspace has no server; run the demo inside the repository");
    }
    Ok(packages)
}

fn read_metadata(metadata: &Value) -> Vec<Package> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let servers = packages.filter_map(|package| {
        let server = package["metadata"].get("server")?;
        Some(Package {
            name: package["name"].as_str()?.to_owned(),
            folder: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned(),
            framework: server["framework"].as_str()?.to_owned(),
        })
    });
    let mut servers: Vec<_> = servers.collect();
    let number = |it: &Package| it.folder_name().split('_').next()?.parse::<u32>().ok();
    servers.sort_by_cached_key(|it| (number(it), it.folder.clone()));
    servers
}

/// The server that `name` means: its name with or without `sse-`, or its folder.
pub(super) fn position(packages: &[Package], name: &str) -> anyhow::Result<usize> {
    let is_it = |it: &Package| [&it.name, it.short_name(), it.folder_name()].contains(&name);
    packages.iter().position(is_it).ok_or_else(|| {
        let known: Vec<_> = packages.iter().map(Package::short_name).collect();
        anyhow!("there is no server {name:?}; choose one of: {}", known.join(", "))
    })
}

/// Cargo builds one package at a time anyway; waiting for its lock would only add noise.
static BUILDING: Mutex<()> = Mutex::const_new(());

/// Builds a server if need be, and says where its binary is; cargo's own words go to `progress`.
pub(super) async fn build(package: &Package, progress: impl Fn(String)) -> anyhow::Result<PathBuf> {
    let _alone = match BUILDING.try_lock() {
        Ok(alone) => alone,
        Err(_) => {
            progress("waits for its turn: one is built at a time".to_owned());
            BUILDING.lock().await
        }
    };
    let mut child = Command::new(cargo())
        .args(["build", "--message-format", "json-render-diagnostics", "--package", &package.name])
        .arg("--manifest-path")
        .arg(package.folder.join("Cargo.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = child.stdout.take().expect("piped above");
    let stderr = child.stderr.take().expect("piped above");
    let mut messages = Vec::new();
    let (read, ()) = tokio::join!(stdout.read_to_end(&mut messages), tell(stderr, progress));
    read?;
    if !child.wait().await?.success() {
        bail!("it does not build; see cargo build -p {}", package.name);
    }
    let lines = messages.split(|byte| *byte == b'\n');
    let artifacts = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut binaries = artifacts.filter_map(|it| it["executable"].as_str().map(PathBuf::from));
    binaries.next().context("it has no binary; a server needs src/main.rs")
}

/// Hands on each line of cargo's, such as `Compiling tokio v1.54.1`.
async fn tell(stderr: impl AsyncRead + Unpin, progress: impl Fn(String)) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        progress(line.trim().to_owned());
    }
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn servers_are_found_by_their_manifests_and_by_three_names() {
        let packages = discover().await.unwrap();
        assert!(packages.len() > 1, "{packages:?}");
        for (index, package) in packages.iter().enumerate() {
            for name in [&package.name, package.short_name(), package.folder_name()] {
                assert_eq!(position(&packages, name).unwrap(), index);
            }
        }
        let error = position(&packages, "nginx").unwrap_err().to_string();
        assert!(error.contains(packages[0].short_name()), "{error}");
    }

    #[test]
    fn folders_are_ordered_by_number() {
        let package = |folder: &str| {
            serde_json::json!({
                "name": folder,
                "manifest_path": format!("/x/{folder}/Cargo.toml"),
                "metadata": {"server": {"framework": "f", "encodings": []}},
            })
        };
        let other = serde_json::json!({"name": "lib", "manifest_path": "/x/lib/Cargo.toml"});
        let metadata = serde_json::json!({
            "packages": [package("10_j"), package("9_i"), other, package("1_a")],
        });
        let names: Vec<_> = read_metadata(&metadata).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["1_a", "9_i", "10_j"]);
    }
}
