//! The state and the decisions of the demo, without any I/O.

mod lines;

use std::net::SocketAddr;
use std::time::Duration;

use client::MessageEvent;
use jiff::Timestamp;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rows::{Rows, Side};
use super::servers::Package;

/// Characters that can be typed into a message.
const MAX_TYPED_CHARS: usize = 200;

/// Rows that a page key moves by.
const PAGE: usize = 10;

/// A stream that every server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Ticks,
    Time,
    Tasks,
    Messages,
    Simulation,
}

impl Scenario {
    pub(super) const ALL: [Self; 5] =
        [Self::Ticks, Self::Time, Self::Tasks, Self::Messages, Self::Simulation];

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Ticks => "/ticks",
            Self::Time => "/time",
            Self::Tasks => "/tasks",
            Self::Messages => "/messages/demo",
            Self::Simulation => "/simulation",
        }
    }

    pub(super) fn name(self) -> &'static str {
        self.path()[1..].trim_end_matches("/demo")
    }
}

/// Input of the demo.
#[derive(Debug)]
pub(super) enum Message {
    Key(KeyEvent),
    Resized,
    /// Something happened in this lane.
    Saw(usize, Saw),
}

/// An event of a server and its client.
#[derive(Debug)]
pub(super) enum Saw {
    Building,
    /// Output of cargo while it builds.
    Progress(String),
    Listening(SocketAddr),
    /// The server has ended, perhaps for this reason.
    Stopped(Option<String>),
    /// A line of the server's wire log.
    Log(String),
    Bytes(Direction, Vec<u8>),
    Connecting,
    Head(u16),
    Event(MessageEvent),
    Comment(String),
    Retry(Duration),
    Lost {
        reason: String,
        after: Duration,
    },
    Closed,
    Failed(String),
    Posting(String),
    Posted(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// Output of the demo: an action for its caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Open(Scenario),
    Send(String),
    Drop,
    Restart,
    Switch(usize),
}

/// Where a server or its client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Away,
    Building,
    Connecting,
    Open,
    Waiting,
    Ended(String),
}

/// One server and its client, as far as is known.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) package: usize,
    pub(super) address: Option<SocketAddr>,
    /// The newest line of cargo's, as long as it builds.
    pub(super) progress: String,
    pub(super) server: Phase,
    pub(super) client: Phase,
    pub(super) last_event_id: String,
    pub(super) events: u64,
    pub(super) connections: u64,
    /// Events that are missing between those received, by their ids.
    pub(super) lost: u64,
    pub(super) parsed: Rows,
    pub(super) raw: Rows,
}

impl Lane {
    fn new(package: usize) -> Self {
        Self {
            package,
            address: None,
            progress: String::new(),
            server: Phase::Away,
            client: Phase::Connecting,
            last_event_id: String::new(),
            events: 0,
            connections: 0,
            lost: 0,
            parsed: Rows::default(),
            raw: Rows::default(),
        }
    }

    /// Counts what an event's id says was passed over.
    fn count(&mut self, event: &MessageEvent) {
        self.events += 1;
        let number = |id: &str| {
            let (epoch, number) = id.rsplit_once('-').unwrap_or(("", id));
            Some((epoch.to_owned(), number.parse::<u64>().ok()?))
        };
        if let (Some((old, from)), Some((new, to))) =
            (number(&self.last_event_id), number(&event.last_event_id))
            && old == new
        {
            self.lost += to.saturating_sub(from + 1);
        }
        self.last_event_id.clone_from(&event.last_event_id);
    }
}

/// All that the screen shows.
pub(super) struct App {
    pub(super) packages: Vec<Package>,
    pub(super) lanes: Vec<Lane>,
    pub(super) grid: bool,
    pub(super) colour: bool,
    pub(super) is_raw: bool,
    pub(super) is_paused: bool,
    /// Rows that were scrolled back.
    pub(super) back: usize,
    pub(super) typed: Option<String>,
    pub(super) help: bool,
    scenario: Scenario,
    is_over: bool,
}

impl App {
    pub(super) fn new(packages: Vec<Package>, chosen: &[usize], grid: bool, colour: bool) -> Self {
        Self {
            packages,
            lanes: chosen.iter().map(|&package| Lane::new(package)).collect(),
            grid,
            colour,
            is_raw: false,
            is_paused: false,
            back: 0,
            typed: None,
            help: false,
            scenario: Scenario::Ticks,
            is_over: false,
        }
    }

    pub(super) fn scenario(&self) -> Scenario {
        self.scenario
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the screen changes by itself: a spinner turns.
    pub(super) fn is_moving(&self) -> bool {
        self.lanes.iter().any(|lane| lane.server == Phase::Building)
    }

    pub(super) fn update(&mut self, now: Timestamp, message: Message) -> Vec<Effect> {
        match message {
            Message::Key(key) => self.key(key),
            Message::Saw(lane, saw) => {
                self.saw(now, lane, &saw);
                Vec::new()
            }
            Message::Resized => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            self.is_over = true;
            return Vec::new();
        }
        // Esc and a key in one breath arrive as Alt and that key.
        if is_control || key.modifiers.contains(KeyModifiers::ALT) {
            return Vec::new();
        }
        if self.typed.is_some() {
            return self.type_key(key.code);
        }
        if std::mem::take(&mut self.help) {
            return Vec::new();
        }
        match key.code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('b') => (self.is_raw, self.back) = (!self.is_raw, 0),
            KeyCode::Char(' ') if self.is_paused => self.go_on(),
            KeyCode::Char(' ') => self.is_paused = true,
            KeyCode::Up => self.scroll(1),
            KeyCode::PageUp => self.scroll(PAGE),
            KeyCode::Home => self.scroll(usize::MAX / 2),
            KeyCode::Down => self.back = self.back.saturating_sub(1),
            KeyCode::PageDown => self.back = self.back.saturating_sub(PAGE),
            KeyCode::End | KeyCode::Esc => self.go_on(),
            KeyCode::Char('d') => return vec![Effect::Drop],
            KeyCode::Char('r') => return vec![Effect::Restart],
            KeyCode::Char('m') => {
                self.typed = Some(String::new());
                if self.scenario != Scenario::Messages {
                    return self.open(Scenario::Messages);
                }
            }
            KeyCode::Char('s') if !self.grid => {
                let next = (self.lanes[0].package + 1) % self.packages.len();
                self.lanes[0].package = next;
                return vec![Effect::Switch(next)];
            }
            KeyCode::Char(digit @ '1'..='5') => {
                let index = digit as usize - '1' as usize;
                return self.open(Scenario::ALL[index]);
            }
            _ => {}
        }
        Vec::new()
    }

    fn open(&mut self, scenario: Scenario) -> Vec<Effect> {
        self.scenario = scenario;
        self.go_on();
        for lane in &mut self.lanes {
            *lane = Lane {
                package: lane.package,
                address: lane.address,
                server: lane.server.clone(),
                ..Lane::new(lane.package)
            };
        }
        vec![Effect::Open(scenario)]
    }

    fn type_key(&mut self, code: KeyCode) -> Vec<Effect> {
        let Some(typed) = &mut self.typed else { return Vec::new() };
        match code {
            KeyCode::Esc => self.typed = None,
            KeyCode::Enter if typed.is_empty() => self.typed = None,
            // The line stays open: one message seldom comes alone.
            KeyCode::Enter => return vec![Effect::Send(std::mem::take(typed))],
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(c) if typed.chars().count() < MAX_TYPED_CHARS => typed.push(c),
            _ => {}
        }
        Vec::new()
    }

    fn scroll(&mut self, by: usize) {
        let rows = self.lanes.iter().map(|lane| self.rows(lane).len()).max().unwrap_or(0);
        self.back = self.back.saturating_add(by).min(rows.saturating_sub(1));
        self.is_paused = true;
    }

    fn go_on(&mut self) {
        (self.is_paused, self.back) = (false, 0);
    }

    pub(super) fn rows<'a>(&self, lane: &'a Lane) -> &'a Rows {
        if self.is_raw { &lane.raw } else { &lane.parsed }
    }

    fn saw(&mut self, now: Timestamp, number: usize, saw: &Saw) {
        let Some(lane) = self.lanes.get_mut(number) else { return };
        match saw {
            Saw::Progress(line) => lane.progress.clone_from(line),
            Saw::Building => (lane.server, lane.address) = (Phase::Building, None),
            Saw::Listening(address) => {
                (lane.server, lane.address) = (Phase::Open, Some(*address));
                lane.progress.clear();
            }
            Saw::Stopped(None) => (lane.server, lane.address) = (Phase::Away, None),
            Saw::Stopped(Some(why)) => {
                lane.server = Phase::Ended(why.clone());
                lane.progress.clear();
            }
            Saw::Failed(why) => lane.client = Phase::Ended(why.clone()),
            Saw::Connecting => lane.client = Phase::Connecting,
            Saw::Head(_) => {
                lane.client = Phase::Open;
                lane.connections += 1;
            }
            Saw::Event(event) => lane.count(event),
            Saw::Lost { .. } => lane.client = Phase::Waiting,
            Saw::Closed => lane.client = Phase::Ended("the server has nothing more (204)".into()),
            _ => {}
        }
        let before = [lane.parsed.len(), lane.raw.len()];
        for (side, line) in lines::parsed(saw) {
            lane.parsed.push(now, side, line);
        }
        for (side, line) in lines::raw(saw) {
            lane.raw.push(now, side, line);
        }
        // The visible rows stand still while rows are added below them.
        let lane = &self.lanes[number];
        let added = self.rows(lane).len().saturating_sub(before[usize::from(self.is_raw)]);
        if self.is_paused && !self.grid {
            self.back += added;
        }
    }
}

/// The newest line of what a client heard, for a grid that has no room for both sides.
pub(super) const GRID_SIDE: Side = Side::Client;

#[cfg(test)]
#[path = "state/tests.rs"]
pub(super) mod tests;
