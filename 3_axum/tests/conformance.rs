//! The conformance suite against this server: each case with each encoding is one test.
//!
//! The same bytes stand in every server's folder. The usual arguments work: `-- S4` runs the cases
//! of category 4, `-- native::` those of the framework's own encoder, `-- --list` names all. Known
//! deviations stand in `deviations.toml`; one that is fixed upstream fails here until it is
//! removed.

fn main() -> std::process::ExitCode {
    conform::test_binary(
        env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))),
        env!("CARGO_MANIFEST_DIR"),
    )
}
