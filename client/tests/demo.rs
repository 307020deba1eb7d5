//! `sse demo` in a real terminal: the screen, and the state of the terminal after it.
#![allow(clippy::unwrap_used)] // A test may panic, and its helpers with it.

mod tmux;

use std::process::Command;
use std::sync::LazyLock;

use tmux::Terminal;

/// The servers of the workspace by their short names, all built. No list of them is written down.
static SERVERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let output = Command::new(env!("CARGO_BIN_EXE_sse")).args(["demo", "?"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let (_, names) = words.trim_end().rsplit_once("one of: ").expect("the demo lists the servers");
    let names: Vec<_> = names.split(", ").map(str::to_owned).collect();
    for name in &names {
        // Here and not by the demo: compiling must not count against a deadline.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = Command::new(cargo).args(["build", "-p", &format!("sse-{name}")]).output();
        let build = build.unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    }
    names
});

/// A shell that runs the demo between two looks at the terminal's settings, and then stays.
fn demo(width: u16, height: u16, environment: &str, arguments: &str) -> Terminal {
    let sse = env!("CARGO_BIN_EXE_sse");
    let command = format!(
        "echo before $(stty -g); {environment} '{sse}' demo {arguments}; \
         echo ended $?; echo after $(stty -g); exec cat"
    );
    Terminal::start(width, height, &command)
}

/// How often a text stands on the screen.
fn count(screen: &str, text: &str) -> usize {
    screen.matches(text).count()
}

/// The highest number behind a text.
fn highest(screen: &str, before: &str) -> u64 {
    let numbers = screen.split(before).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    numbers.max().unwrap_or(0)
}

/// Waits until both sides show an event of ticks after this one, in one row.
#[track_caller]
fn see_tick_after(terminal: &Terminal, number: u64) -> u64 {
    let is_later = |line: &str| {
        count(line, "Hello! This is event ") == 2 && highest(line, "Hello! This is event ") > number
    };
    let screen = terminal.wait(&format!("an event after {number} on both sides"), |screen| {
        screen.lines().any(is_later)
    });
    highest(&screen, "Hello! This is event ")
}

/// All that the keys do, on a screen of this size.
fn session(width: u16, height: u16) {
    let (first, second) = (&SERVERS[0], &SERVERS[1]);
    let terminal = demo(width, height, "", first);
    terminal.see(&format!("SERVER {first}"));
    terminal.see("CLIENT EventSource");
    assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag}"), "1 0");
    let seen = see_tick_after(&terminal, 1);

    // The connection is dropped: the client resumes where it was.
    terminal.press(&["d"]);
    // The two sides draw their lines one after the other, with other lines between: not in one row.
    let screen = terminal.wait("a second connection, on both sides", |screen| {
        screen.contains("2 connections, 0 lost") && count(screen, "GET /ticks after ") == 2
    });
    let after = highest(&screen, "GET /ticks after ");
    assert!(after >= seen, "resumed after {after}, not {seen}\n{screen}");
    assert_eq!(count(&screen, &format!("GET /ticks after {after}")), 2, "{screen}");
    let seen = see_tick_after(&terminal, after);

    // The server goes away, is away, comes back, and the client with it.
    terminal.press(&["r"]);
    terminal.see("stopped");
    terminal.wait("a third connection that resumes where the second was", |screen| {
        screen.contains("3 connections, 0 lost")
            && screen.contains("connecting again in ")
            && highest(screen, "GET /ticks after ") >= seen
    });
    see_tick_after(&terminal, seen);

    // A message is broadcast: the server sends what the client had it publish.
    terminal.press(&["m"]);
    terminal.see("message, Enter sends, Esc ends:");
    terminal.wait("the stream of the topic", |screen| {
        screen.starts_with(" /messages") && count(screen, "→ 200 text/event-stream") == 2
    });
    terminal.type_text("quite a message");
    terminal.see("Esc ends: quite a message");
    terminal.press(&["Enter"]);
    terminal.see("← POST quite a message");
    terminal.wait("the message on both sides", |screen| count(screen, "-1 quite a message") == 2);
    terminal.press(&["Escape"]);
    terminal.wait("the keys again", |screen| screen.contains("1 ticks"));

    // The other scenarios.
    for (key, path, event) in [
        ("3", "/tasks", "→ 3 progress {\"task\":1"),
        ("5", "/simulation", "prices {"),
        ("2", "/time", "The current time is"),
    ] {
        terminal.press(&[key]);
        terminal.wait(path, |screen| screen.starts_with(&format!(" {path}")));
        terminal.wait(event, |screen| count(screen, event) >= 2);
    }

    // Another server takes over, and the client resumes there.
    terminal.press(&["s"]);
    terminal.see(&format!("SERVER {second} :"));
    terminal.see("GET /time after ");
    terminal.see("2 connections, 0 lost");

    // Bytes, and their meaning.
    terminal.press(&["b"]);
    terminal.see("→ data: The current time is");
    terminal.see("/time  bytes");
    terminal.press(&["b"]);
    terminal.wait("no bytes", |screen| !screen.contains("→ data:"));

    terminal.press(&["?"]);
    terminal.see("any key closes this");
    terminal.press(&["x"]);
    terminal.wait("no help", |screen| !screen.contains("any key closes this"));

    terminal.press(&["Space"]);
    terminal.see("/time  paused");
    terminal.press(&["Up"]);
    terminal.see(" back");
    terminal.press(&["Space"]);
    terminal.wait("no pause", |screen| !screen.contains("paused"));

    // Narrower, wider, too small; what is on the screen fits it.
    for (width, height) in [(60, 12), (100, 30), (200, 60)] {
        terminal.resize(width, height);
        terminal.wait(&format!("a screen of {width} columns"), |screen| {
            let columns = |line: &str| line.chars().count() == usize::from(width);
            screen.lines().filter(|line| columns(line) && line.ends_with(['╮', '│', '╯'])).count()
                >= usize::from(height) - 5
        });
    }
    terminal.resize(59, 12);
    terminal.see("The demo needs 60 × 12 characters");
    terminal.resize(width, height);
    terminal.see("CLIENT EventSource");
    ends_clean(&terminal, "0", || terminal.press(&["q"]));
}

/// Ends the demo, and checks the screen after it.
fn ends_clean(terminal: &Terminal, code: &str, end: impl FnOnce()) {
    let servers = servers(terminal);
    end();
    // Not the demo's own words: a request `after` an id stands on its screen until the end.
    let ended = format!("ended {code}\n");
    let screen = terminal.wait("the settings after it ended", |screen| {
        screen.contains(&ended) && screen.lines().any(|line| line.starts_with("after "))
    });
    // The first screen is back, the cursor is visible, and the settings are those of before.
    assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag}"), "0 1", "{screen}");
    let unfolded = terminal.ask("#{pane_width}").parse::<usize>().unwrap();
    let settings = |word: &str| {
        let mut lines = screen.lines().skip_while(|line| !line.starts_with(word));
        let mut settings = String::new();
        // `stty -g` is longer than a narrow screen is wide.
        for line in lines.by_ref() {
            settings.push_str(line);
            if line.chars().count() < unfolded {
                break;
            }
        }
        settings.trim_start_matches(word).to_owned()
    };
    assert_eq!(settings("before "), settings("after "), "{screen}");
    assert!(settings("before ").len() > 20, "{screen}");
    for mode in ["mouse_any_flag", "keypad_cursor_flag", "insert_flag", "origin_flag"] {
        assert_eq!(terminal.ask(&format!("#{{{mode}}}")), "0", "{mode}");
    }
    // Typed text is echoed, and a line is a line.
    terminal.type_text("still here");
    terminal.press(&["Enter"]);
    terminal
        .wait("the echo of the terminal, and cat's", |screen| count(screen, "\nstill here") == 2);
    // Killed is not yet ended: it is dying while the demo is gone.
    terminal.wait("the end of the server, which is left behind", |_| {
        servers.iter().all(|server| Process::find(&server.pid).as_ref() != Some(server))
    });
}

/// A process that runs. A later one with the same number began at another time.
#[derive(PartialEq, Eq)]
struct Process {
    pid: String,
    started: String,
}

impl Process {
    /// `None` if there is none, or if it has ended and its parent has not asked how.
    fn find(pid: &str) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may have spaces and brackets: the state, and the 20th is the start.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let (pid, started) = (pid.to_owned(), fields[19].to_owned());
        (!["Z", "X"].contains(&fields[0])).then_some(Process { pid, started })
    }
}

/// The processes that a process has started, of each of its threads.
fn children(pid: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end meanwhile; its children go to another one.
    let lists =
        threads.filter_map(|it| std::fs::read_to_string(it.ok()?.path().join("children")).ok());
    lists.flat_map(|it| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The demo in a terminal: its shell runs nothing else.
fn demo_in(terminal: &Terminal) -> String {
    let [demo] = &children(&terminal.ask("#{pane_pid}"))[..] else { panic!("the shell runs one") };
    demo.clone()
}

/// The servers that a demo runs at the moment, at least one.
fn servers(terminal: &Terminal) -> Vec<Process> {
    let demo = demo_in(terminal);
    let find = || children(&demo).iter().filter_map(|pid| Process::find(pid)).collect::<Vec<_>>();
    terminal.wait("a server of the demo", |_| !find().is_empty());
    find()
}

#[test]
fn everything_on_a_small_screen() {
    session(80, 24);
}

#[test]
fn everything_on_a_large_screen() {
    session(160, 50);
}

#[test]
fn control_c_leaves_a_clean_terminal() {
    let terminal = demo(80, 24, "", &SERVERS[0]);
    see_tick_after(&terminal, 0);
    ends_clean(&terminal, "0", || terminal.press(&["C-c"]));
}

#[test]
fn signals_leave_a_clean_terminal() {
    for signal in ["INT", "TERM", "HUP"] {
        let terminal = demo(80, 24, "", &SERVERS[0]);
        see_tick_after(&terminal, 0);
        ends_clean(&terminal, "0", || {
            let status = Command::new("kill").args(["-s", signal, &demo_in(&terminal)]).status();
            assert!(status.unwrap().success());
        });
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_leaves_a_clean_terminal_and_is_reported() {
    for (place, code) in [("main", "101"), ("task", "2")] {
        let panic = format!("SSE_DEMO_PANIC={place}");
        let terminal = demo(80, 24, &panic, &SERVERS[0]);
        see_tick_after(&terminal, 0);
        ends_clean(&terminal, code, || terminal.press(&["q"]));
        let report = format!("\n{panic}\n");
        terminal.wait(&report, |screen| screen.contains(&report));
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    for (environment, wanted) in [("", true), ("NO_COLOR=1", false), ("TERM=dumb", false)] {
        let terminal = demo(80, 24, environment, &SERVERS[0]);
        see_tick_after(&terminal, 0);
        let screen = terminal.screen_in_colour();
        assert_eq!(has_colour(&screen), wanted, "{environment}\n{screen}");
        ends_clean(&terminal, "0", || terminal.press(&["q"]));
    }
}

/// Whether there is a sequence that sets a colour: 30 to 49, 90 to 107, but not the defaults.
fn has_colour(screen: &str) -> bool {
    let sequences = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
    let mut numbers = sequences.flat_map(|(numbers, _)| numbers.split(';'));
    numbers.any(|number| {
        number
            .parse::<u8>()
            .is_ok_and(|number| matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107))
    })
}

/// All servers in a grid on a screen of this size.
fn grid(width: u16, height: u16) {
    let terminal = demo(width, height, "", "--all");
    for name in SERVERS.iter() {
        terminal.see(&format!("╭ {name} "));
    }
    let all = |text: &'static str| {
        terminal.wait(&format!("{text} of each"), |screen| count(screen, text) == SERVERS.len());
    };
    all("1 connection, 0 lost");
    terminal.wait("events of each", |screen| !screen.contains(" 0 events"));
    terminal.press(&["d"]);
    all("2 connections, 0 lost");
    terminal.press(&["m"]);
    terminal.see("/messages/demo");
    all("→ 200 text/event-stream");
    terminal.type_text("to all of you");
    terminal.press(&["Enter"]);
    all("-1 to all of you");
    terminal.press(&["C-c"]);
    terminal.see("ended 0");
    assert_eq!(terminal.ask("#{alternate_on} #{cursor_flag}"), "0 1");
}

#[test]
fn all_servers_on_a_small_screen() {
    grid(80, 24);
}

#[test]
fn all_servers_on_a_large_screen() {
    grid(160, 50);
}
