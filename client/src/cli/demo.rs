//! `sse demo`: a server and a client side by side, line by line as bytes go out and come in.
//!
//! `state` decides and `draw` shows; neither does any I/O. `lane` runs a server and its client,
//! `tap` is the wire between them, `servers` finds and builds.

mod draw;
mod lane;
mod rows;
mod servers;
mod state;
mod tap;

use std::io::{self, IsTerminal, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::lane::Runner;
use self::state::{App, Effect, Message};
use super::print::notice;

/// Messages on their way to the screen. More than one screen of them waits in the pipes and sockets
/// they come from.
const QUEUE: usize = 256;

/// Set to `main` or `task`, it makes the end of the demo a panic there: a test sees that this, too,
/// gives the terminal back. Release builds have no such ear.
const PANIC: &str = "SSE_DEMO_PANIC";

/// Thirty pictures a second are enough for reading, and leave the core to the servers.
const FRAME: Duration = Duration::from_millis(33);

/// Watch a server and its client talk, side by side
///
/// Builds and starts a server of this workspace, connects an event source to it, and shows what each
/// of them sends and receives. Drop the connection or restart the server, and see it resume.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sse demo         axum; press ? for the keys
  sse demo poem    another one
  sse demo --all   all servers at once, on the same scenario
  NO_COLOR=1 sse demo poem")]
pub(super) struct Demo {
    /// The server: a name without `sse-`, or a folder [default: axum]
    server: Option<String>,
    /// All servers in a grid
    #[arg(long, conflicts_with = "server")]
    all: bool,
}

/// The server that starts where none is named.
const DEFAULT: &str = "axum";

/// Which server was chosen for the user, and what else there is.
fn starting(packages: &[servers::Package], first: usize) -> String {
    let others = packages.iter().enumerate().filter(|(number, _)| *number != first);
    let others: Vec<&str> = others.map(|(_, it)| it.short_name()).collect();
    let name = packages[first].short_name();
    format!("starting {name}; sse demo NAME starts another one ({}), --all all", others.join(", "))
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let packages = servers::discover().await?;
        let first = match &self.server {
            Some(name) => servers::position(&packages, name)?,
            None if self.all => 0,
            None => {
                let first = servers::position(&packages, DEFAULT).unwrap_or(0);
                notice(&starting(&packages, first));
                first
            }
        };
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            bail!("the demo needs a terminal; in a pipe, use sse tail");
        }
        let chosen = if self.all { (0..packages.len()).collect() } else { vec![first] };
        let (sender, mut messages) = mpsc::channel(QUEUE);
        let colour = super::print::wants_colour(&io::stdout());
        let mut app = App::new(packages.clone(), &chosen, self.all, colour);
        let mut lanes = Vec::new();
        for (number, &package) in chosen.iter().enumerate() {
            let package = packages[package].clone();
            lanes.push(Runner::start(number, package, app.scenario(), sender.clone()).await?);
        }
        // When its window closes, the demo must end its servers and restore the terminal too.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut terminal = take_terminal().context("cannot take the terminal; try another one")?;
        let _restore = Restore;
        read_keys(sender);
        let mut frames = tokio::time::interval(FRAME);
        let mut changed = true;
        while !app.is_over() && TAKEN.load(Ordering::Relaxed) {
            let message = tokio::select! {
                message = messages.recv() => message,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hang_up.recv() => break,
                _ = frames.tick() => {
                    if changed || app.is_moving() {
                        terminal.draw(|frame| draw::draw(frame, &app))?;
                        changed = false;
                    }
                    None
                }
            };
            let Some(message) = message else { continue };
            changed = true;
            for effect in app.update(Timestamp::now(), message) {
                perform(&mut lanes, &packages, effect);
            }
        }
        if cfg!(debug_assertions) {
            panic_if_asked().await;
        }
        if !TAKEN.load(Ordering::Relaxed) {
            bail!("a part of the demo broke; see what it said above");
        }
        for lane in &mut lanes {
            lane.stop();
        }
        for lane in lanes {
            lane.stopped().await;
        }
        Ok(())
    }
}

fn perform(lanes: &mut [Runner], packages: &[servers::Package], effect: Effect) {
    match effect {
        Effect::Open(scenario) => lanes.iter_mut().for_each(|lane| lane.open(scenario)),
        Effect::Send(text) => lanes.iter().for_each(|lane| lane.send(&text)),
        Effect::Drop => lanes.iter().for_each(Runner::drop_connection),
        Effect::Restart => lanes.iter_mut().for_each(Runner::restart),
        Effect::Switch(package) => {
            lanes.iter_mut().for_each(|lane| lane.switch(packages[package].clone()));
        }
    }
}

async fn panic_if_asked() {
    let place = std::env::var(PANIC).unwrap_or_default();
    match place.as_str() {
        "main" => panic!("{PANIC}={place}"),
        "task" => drop(tokio::spawn(async move { panic!("{PANIC}={place}") }).await),
        _ => {}
    }
}

/// Whether the terminal is ours. Giving it back twice would put the cursor where it was before, and
/// the next line over the message of a panic.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal; a panic, of whichever thread, gives it back before it is printed.
fn take_terminal() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        tell(panic);
    }));
    TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        ratatui::restore();
    }
}

/// Gives the terminal back, whichever way the demo ends.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        give_back();
    }
}

/// Reads the terminal on a separate thread, which ends with the process or the demo.
fn read_keys(sender: mpsc::Sender<Message>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let message = match event {
                Event::Key(key) if key.is_press() => Message::Key(key),
                Event::Resize(..) => Message::Resized,
                _ => continue,
            };
            if sender.blocking_send(message).is_err() {
                break;
            }
        }
    });
}
