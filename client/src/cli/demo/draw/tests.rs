use std::time::Duration;

use client::MessageEvent;
use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::super::super::print::tests::unsafe_characters;
use super::super::state::{Direction, Message, Saw, tests::packages};
use super::*;

/// A session of ticks that is dropped after the second event, and resumes.
fn session(app: &mut App, lane: usize) {
    let start: Timestamp = "2026-11-20T12:34:56.000Z".parse().unwrap();
    let mut ms = 0;
    let mut saw = |saw| {
        ms += 1;
        app.update(start + Duration::from_millis(ms), Message::Saw(lane, saw));
    };
    let log = |text: &str| Saw::Log(format!("12:34:56.789 {text}"));
    let sent =
        |id: u32| log(&format!("stream 1: sent id \"{id}\", data \"Hello! This is event {id}\""));
    let got = |id: u32| {
        Saw::Event(MessageEvent {
            event: "message".into(),
            data: format!("Hello! This is event {id}"),
            last_event_id: id.to_string(),
        })
    };
    let asked = |fields: &str| {
        let bytes = format!("GET /ticks HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into_bytes();
        Saw::Bytes(Direction::ToServer, bytes)
    };
    saw(Saw::Building);
    saw(Saw::Listening("127.0.0.1:40123".parse().unwrap()));
    saw(Saw::Connecting);
    saw(asked(""));
    saw(log("stream 1: received GET /ticks"));
    saw(log("stream 1: sent 200 text/event-stream"));
    saw(Saw::Head(200));
    saw(sent(1));
    saw(got(1));
    saw(got(2));
    saw(sent(2));
    let after = Duration::from_secs(1);
    saw(Saw::Lost { reason: "the connection broke".into(), after });
    saw(log("stream 1: closed"));
    saw(asked("last-event-id: 2\r\n"));
    saw(log("stream 2: received GET /ticks, Last-Event-ID \"2\""));
    saw(Saw::Head(200));
    saw(log("stream 2: sent 200 text/event-stream"));
    saw(sent(3));
    saw(got(3));
}

fn press(app: &mut App, code: KeyCode) {
    app.update(Timestamp::UNIX_EPOCH, Message::Key(KeyEvent::from(code)));
}

fn picture(app: &App, width: u16, height: u16) -> (String, Buffer) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content().chunks(usize::from(width));
    let lines = rows.map(|cells| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    });
    (lines.collect::<Vec<_>>().join("\n"), buffer)
}

#[test]
fn both_sides_line_up() {
    let mut app = App::new(packages(), &[0], false, false);
    session(&mut app, 0);
    let (seen, _) = picture(&app, 80, 24);
    assert_eq!(seen, include_str!("panes.txt").trim_end());
}

#[test]
fn all_servers_fit_on_a_small_screen() {
    let mut app = App::new(packages(), &[0, 1, 2], true, false);
    for lane in 0..3 {
        session(&mut app, lane);
    }
    let (seen, _) = picture(&app, 80, 24);
    assert_eq!(seen, include_str!("grid.txt").trim_end());
}

#[test]
fn help_typing_and_bytes_have_their_places() {
    let mut app = App::new(packages(), &[0], false, false);
    session(&mut app, 0);
    press(&mut app, KeyCode::Char('?'));
    let (seen, _) = picture(&app, 80, 24);
    for (_, words) in HELP {
        assert!(seen.contains(words), "{words}\n{seen}");
    }
    let mut all = App::new(packages(), &[0, 1, 2], true, false);
    press(&mut all, KeyCode::Char('?'));
    assert!(!picture(&all, 80, 24).0.contains("next server"));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('b'));
    let (seen, _) = picture(&app, 80, 24);
    assert!(seen.contains(r"← last-event-id: 2\r\n"), "{seen}");
    press(&mut app, KeyCode::Char('m'));
    press(&mut app, KeyCode::Char('é'));
    let (seen, _) = picture(&app, 80, 24);
    assert!(seen.contains("message, Enter sends, Esc ends: é"), "{seen}");
}

#[test]
fn colours_are_there_only_when_wanted() {
    for wanted in [true, false] {
        let mut app = App::new(packages(), &[0], false, wanted);
        session(&mut app, 0);
        let (_, buffer) = picture(&app, 80, 24);
        let has_colour = buffer.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(has_colour, wanted);
    }
}

#[test]
fn no_text_of_a_server_steers_the_terminal() {
    let text = unsafe_characters();
    let words = || text.clone();
    let bytes = |direction| Saw::Bytes(direction, format!("GET {text} HTTP/1.1\r\n").into_bytes());
    let event = MessageEvent { event: words(), data: words(), last_event_id: words() };
    let all = [
        Saw::Progress(words()),
        Saw::Log(words()),
        Saw::Log(format!("12:34:56.789 stream 1: sent id \"{text}\", data \"{text}\"")),
        bytes(Direction::ToServer),
        bytes(Direction::ToClient),
        Saw::Event(event),
        Saw::Comment(words()),
        Saw::Lost { reason: words(), after: Duration::ZERO },
        Saw::Posting(words()),
        Saw::Posted(words()),
        Saw::Failed(words()),
        Saw::Stopped(Some(words())),
    ];
    let mut app = App::new(packages(), &[0], false, false);
    let mut check = |saw| {
        app.update(Timestamp::UNIX_EPOCH, Message::Saw(0, saw));
        for _ in 0..2 {
            press(&mut app, KeyCode::Char('b'));
            let (seen, _) = picture(&app, 300, 40);
            let found: Vec<_> = seen.chars().filter(|c| text.contains(*c)).collect();
            assert!(found.is_empty(), "{found:?}\n{seen}");
        }
    };
    all.into_iter().for_each(&mut check);
}

#[test]
fn any_size_can_be_drawn() {
    for grid in [true, false] {
        let mut app = App::new(packages(), &[0, 1, 2], grid, true);
        (0..3).for_each(|lane| session(&mut app, lane));
        for (width, height) in [(1, 1), (59, 12), (60, 11), (60, 12), (81, 25), (200, 60)] {
            for key in ['?', ' ', 'b', 'm', '日'] {
                press(&mut app, KeyCode::Char(key));
                picture(&app, width, height);
            }
            press(&mut app, KeyCode::Esc);
        }
    }
}
