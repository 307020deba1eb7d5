//! `sse-bench servers`: the servers that have a name, and the installation of those of other ecosystems.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use conform::report::Paint;
use conform::report::table::{Column, Table, Tone};
use fleet::{Package, Peer, Servers};
use serde_json::json;

/// A server that was named could not be installed.
const EXIT_UNEXPECTED: u8 = 1;

/// The subcommands for servers that have a name.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// List our servers, and those of other ecosystems
    #[command(after_help = "\
A name stands for its server in every command: sse-bench conform server NAME, sse-bench run \
--servers NAME. The word `ours` stands for the servers of this repository, `peers` for those of \
other ecosystems (a folder each in bench/servers), `all` for both. A folder with a server.toml \
anywhere else is named by its path, such as ./my-server.

Examples:
  sse-bench servers list
  sse-bench servers list peers --json \\
    | jq -r '.[] | select(.installed == null) | .name'")]
    List(List),
    /// Install servers of other ecosystems, as their server.toml says
    #[command(after_help = "\
Each is installed in its folder of bench/servers (node_modules, .venv, target), in the versions \
that its lock file names. The output of its tools goes to target/install.log there.

Tools such as npm or go are not installed: the row of a server without its tools names the \
command that installs them. The servers of this repository are built by cargo when a command \
needs them.

Examples:
  sse-bench servers install                            all that can be installed
  sse-bench servers install node-express python-flask
  sse-bench conform server node-express                then check one

Exit codes:
  0  done; without names, some servers may be missing
  1  a server that was named could not be installed
  2  could not run")]
    Install(Install),
}

/// Which servers are listed, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct List {
    /// ours, peers, all, names, or folders with a server.toml [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the list as JSON
    #[arg(long)]
    json: bool,
    /// Print every column of the table, however narrow the terminal is
    #[arg(long)]
    wide: bool,
}

/// Which servers are installed.
#[derive(Debug, Clone, clap::Args)]
pub struct Install {
    /// peers, all, names, or folders with a server.toml [default: peers]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Columns before the further lines of a reason.
const REASON: usize = 4;

/// Lists or installs.
///
/// # Errors
/// For a name that there is not, and outside a clone.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::List(args) => list(args),
        Command::Install(args) => install(args),
    }
}

fn list(args: &List) -> Result<ExitCode> {
    let servers = match args.names.as_slice() {
        [] => Servers::all()?,
        names => Servers::named(names)?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        let ours = servers.ours.iter().map(ours_as_json);
        let all: Vec<_> = ours.chain(servers.peers.iter().map(peer_as_json)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(
        4,
        [
            Column::from("name"),
            Column::from("language"),
            Column::ranked("stack", 1),
            Column::from("state"),
        ],
    );
    let (paint, mut reasons) = (paint(args.wide), String::new());
    for it in &servers.ours {
        let stack = format!("{} {}", it.framework, it.framework_version);
        let state = format!("ours: {}", it.encodings.join(", "));
        table.row([it.short_name(), "Rust", &stack, &state].map(str::to_owned).to_vec());
    }
    for it in &servers.peers {
        // Versions and reasons are as long as they are; a table is as wide as the terminal.
        let (tone, state) = match it.installed() {
            Ok(versions) if args.wide => (Tone::Plain, format!("installed: {versions}")),
            Ok(_) => (Tone::Plain, "installed".to_owned()),
            Err(error) => {
                let lead = " ".repeat(REASON);
                reasons += &format!("{}:\n", it.name);
                reasons += &paint.hang(&lead, REASON, &format!("{error:#}"));
                (Tone::Bad, "not installed".to_owned())
            }
        };
        let stack = format!("{} {}", it.manifest.name, it.manifest.version);
        let cells = [&it.name, &it.manifest.language, &stack, &state].map(Clone::clone);
        table.row_in(tone, cells.to_vec());
    }
    write!(out, "{}{reasons}", table.text(paint))?;
    Ok(ExitCode::SUCCESS)
}

fn paint(wide: bool) -> Paint {
    let paint = Paint::for_stdout();
    if wide { paint.unlimited() } else { paint }
}

fn ours_as_json(package: &Package) -> serde_json::Value {
    json!({
        "name": package.short_name(), "is_ours": true, "folder": package.folder, "language": "Rust",
        "stack": package.framework, "version": package.framework_version, "encodings": package.encodings,
    })
}

fn peer_as_json(peer: &Peer) -> serde_json::Value {
    let installed = peer.installed();
    json!({
        "name": peer.name, "is_ours": false, "folder": peer.folder, "language": peer.manifest.language,
        "stack": peer.manifest.name, "version": peer.manifest.version, "url": peer.manifest.url,
        "needs": peer.manifest.needs, "installed": installed.as_ref().ok(),
        "why_not": installed.as_ref().err().map(|error| format!("{error:#}")),
    })
}

fn install(args: &Install) -> Result<ExitCode> {
    let (mut out, groups) = (io::stdout(), ["ours", "peers", "all"]);
    let servers = match args.names.as_slice() {
        [] => Servers::named(&["peers"])?,
        names => Servers::named(names)?,
    };
    if !servers.ours.is_empty() {
        let names: Vec<_> = servers.ours.iter().map(Package::short_name).collect();
        writeln!(out, "{}: cargo builds them when a command needs them", names.join(", "))?;
    }
    // Those of a group are installed as far as that can be done here.
    let one_by_one = args.names.iter().filter(|it| !groups.contains(&it.as_str()));
    let wanted = Servers::named(&one_by_one.collect::<Vec<_>>())?.peers;
    let (mut code, mut failed) = (ExitCode::SUCCESS, 0);
    let width = servers.peers.iter().map(|it| it.name.len()).max().unwrap_or(0);
    for peer in &servers.peers {
        // A row comes when it is known; an installation may take minutes.
        write!(out, "{:<width$}  ", peer.name)?;
        out.flush()?;
        match peer.install() {
            Ok(versions) => writeln!(out, "{} {versions}", peer.manifest.name)?,
            Err(error) => {
                failed += 1;
                writeln!(out, "NOT INSTALLED: {error:#}")?;
                if wanted.contains(peer) {
                    code = ExitCode::from(EXIT_UNEXPECTED);
                }
            }
        }
    }
    writeln!(out, "{} installed, {failed} not", servers.peers.len() - failed)?;
    Ok(code)
}
