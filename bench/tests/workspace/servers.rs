//! The servers of this workspace, for tests that drive real processes: found, built once, started.
//!
//! `SSE_TEST_SERVERS=axum,poem` restricts a run while one works on some of them; it says so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use fleet::{Launch, Package, Server};

/// All servers that `cargo metadata` finds, in the order of their folders.
pub fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let all = fleet::discover().expect("tests run inside the workspace");
        let Ok(wanted) = std::env::var("SSE_TEST_SERVERS") else { return all };
        eprintln!("SSE_TEST_SERVERS is set: only {wanted}");
        let known =
            |name| fleet::find(&all, name).unwrap_or_else(|error| panic!("{error}")).clone();
        wanted.split(',').map(known).collect()
    })
}

/// The debug binary of a server, built by the first test that needs it.
pub fn binary(package: &Package) -> Result<PathBuf, String> {
    static BUILT: Mutex<Option<HashMap<PathBuf, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(binary) = built.get(&package.folder) {
        return Ok(binary.clone());
    }
    let binary = fleet::build(package, false).map_err(|error| format!("{error:#}"))?;
    built.insert(package.folder.clone(), binary.clone());
    Ok(binary)
}

/// Starts a server, shared encoding, with further arguments.
#[allow(dead_code, reason = "each test binary uses its part of this module")]
pub fn start(package: &Package, args: &[&str]) -> Result<Server, String> {
    let launch: Launch =
        package.launch(&binary(package)?, "shared").with_args(args.iter().copied());
    Server::start(&launch).map_err(|error| format!("{}: {error:#}", package.name))
}

/// The root of the workspace.
#[allow(dead_code, reason = "each test binary uses its part of this module")]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench lies in the workspace")
}

/// A program that is installed in a folder of the `PATH`, or that `./test.sh` has taken out of Debian's
/// package: installing that would start a server.
#[allow(dead_code, reason = "each test binary uses its part of this module")]
pub fn installed(program: &str, folder: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|it| Some(it.join(program)).filter(|it| it.is_file()));
    found.unwrap_or_else(|| {
        let unpacked = workspace().join("target/tools/usr").join(folder).join(program);
        assert!(unpacked.is_file(), "{program} is missing: ./test.sh unpacks it, or install it");
        unpacked
    })
}
