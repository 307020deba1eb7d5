//! A real terminal: tmux, without a window. Keys go in, and the screen comes out.
#![allow(dead_code, clippy::unwrap_used)] // Shared by programs that use different parts of it.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Everything that a person would wait for is there within this time, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at the screen.
const LOOK: Duration = Duration::from_millis(20);

/// A separate tmux server with one pane, which ends with this value.
pub struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs a shell command in a pane of this size.
    pub fn start(width: u16, height: u16, command: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { socket: format!("sse-{}-{number}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &width, "-y", &height, command]);
        terminal
    }

    /// Presses keys, by tmux's names for them: `Enter`, `C-c`, `Up`, `q`.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// The text on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The text on the screen, with escape sequences for colours and weights.
    pub fn screen_in_colour(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// A fact that tmux knows of the pane, for instance `#{alternate_on}`.
    pub fn ask(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", format]).trim_end().to_owned()
    }

    /// Looks at the screen until it is as it should be, and returns it.
    #[track_caller]
    pub fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(start.elapsed() < DEADLINE, "waited in vain for: {what}\n{screen}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for a text.
    #[track_caller]
    pub fn see(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        // No file of the user's; UTF-8 and a terminal with colours whatever the environment says.
        tmux.args(["-u", "-f", "/dev/null", "-L", &self.socket]).args(arguments);
        tmux.env_remove("TMUX").env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        for name in ["NO_COLOR", "RUST_BACKTRACE", "SSE_DEMO_PANIC"] {
            tmux.env_remove(name);
        }
        tmux.output().expect("tmux is missing: apt-get install tmux")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}
