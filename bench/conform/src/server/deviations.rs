//! Known deviations of a server: `deviations.toml` in its folder.

use std::path::Path;

use super::cases;
use crate::Deviations;

impl Deviations {
    /// Reads `deviations.toml` in the folder of a server; none if there is no such file.
    ///
    /// # Errors
    /// One line that names the file, if it cannot be read or names a case that does not exist.
    pub fn read(folder: &Path) -> Result<Deviations, String> {
        let path = folder.join("deviations.toml");
        if path.exists() { Self::read_file(&path, is_case) } else { Ok(Self::default()) }
    }
}

/// Whether there is a case about servers with this id.
pub(super) fn is_case(id: &str) -> bool {
    cases().any(|case| case.id == id)
}
