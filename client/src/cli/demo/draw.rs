//! How the demo looks. Draws what `state` knows; decides nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph};

use super::super::print::visible;
use super::rows::{Line, Side, Tone};
use super::state::{App, GRID_SIDE, Lane, Phase, Scenario};

/// The smallest screen that has room for all.
const MIN_WIDTH: u16 = 60;
const MIN_HEIGHT: u16 = 12;

/// Columns of a time such as `34:56.789`, and the space behind it.
const TIME_WIDTH: u16 = 10;

const SPINNER: [&str; 8] = ["⣾", "⣽", "⣻", "⢿", "⡿", "⣟", "⣯", "⣷"];

/// Of one server; where all are shown there is no next one.
const NEXT_SERVER: &str = "s";

const HELP: [(&str, &str); 11] = [
    ("1 – 5", "ticks, time, tasks, messages, simulation"),
    ("m", "write a message; every reader of the topic gets it"),
    ("d", "drop the connection: the client resumes"),
    ("r", "restart the server: the client waits and resumes"),
    (NEXT_SERVER, "next server, behind the same URL: it resumes there"),
    ("b", "the bytes on the wire, or what they mean"),
    ("space", "pause, or go on"),
    ("↑ ↓", "scroll; also Page Up, Page Down, Home, End"),
    ("?", "this help"),
    ("q", "quit; also Ctrl-C"),
    ("", "any key closes this"),
];

pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        let words = format!("The demo needs {MIN_WIDTH} × {MIN_HEIGHT} characters. q quits.");
        frame.render_widget(Paragraph::new(words), area);
        return;
    }
    let keys = key_lines(app, area.width);
    let rows = [Constraint::Length(1), Constraint::Min(3), Constraint::Length(keys.len() as u16)];
    let [top, middle, bottom] = area.layout(&Layout::vertical(rows));
    let paint = Paint { colour: app.colour };
    frame.render_widget(totals(app, paint), top);
    frame.render_widget(title(app, paint), top);
    if app.grid {
        grid(frame, app, paint, middle);
    } else if let Some(lane) = app.lanes.first() {
        panes(frame, app, lane, paint, middle);
    }
    frame.render_widget(Paragraph::new(keys), bottom);
    if app.help {
        help(frame, app, paint, area);
    }
    if let Some(typed) = &app.typed {
        type_line(frame, typed, bottom);
    }
}

/// Colours, or only weights on a terminal without them.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let coloured = |colour| if self.colour { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Quiet => style.add_modifier(Modifier::DIM),
            Tone::Id => coloured(Color::Cyan),
            Tone::Type => coloured(Color::Yellow),
            Tone::Good => coloured(Color::Green),
            Tone::Warn => coloured(Color::Yellow),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    /// A line, cut with a mark where it does not fit.
    fn line(self, line: &Line, width: u16) -> Text<'static> {
        let whole = Text::from_iter(line.parts.iter().map(|(tone, text)| self.span(*tone, text)));
        if whole.width() <= usize::from(width) {
            return whole;
        }
        let mut room = usize::from(width).saturating_sub(1);
        let mut spans = Vec::new();
        for span in whole.spans {
            let style = span.style;
            let mut kept = String::new();
            for c in span.content.chars() {
                let columns = Span::raw(c.to_string()).width();
                if columns > room {
                    room = 0;
                    break;
                }
                room -= columns;
                kept.push(c);
            }
            spans.push(Span::styled(kept, style));
        }
        spans.push(self.span(Tone::Quiet, "…"));
        Text::from(spans)
    }
}

fn phase(phase: &Phase) -> (Tone, &str) {
    match phase {
        Phase::Away => (Tone::Warn, "away"),
        Phase::Building => (Tone::Warn, "building"),
        Phase::Connecting => (Tone::Warn, "connecting"),
        Phase::Open => (Tone::Good, "open"),
        Phase::Waiting => (Tone::Warn, "reconnecting"),
        Phase::Ended(_) => (Tone::Quiet, "ended"),
    }
}

fn title(app: &App, paint: Paint) -> Text<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(format!(" {}", app.scenario().path()), bold)];
    if app.is_raw {
        spans.push(paint.span(Tone::Quiet, "  bytes"));
    }
    if app.is_paused {
        let at = if app.back > 0 { format!(" {} back", app.back) } else { String::new() };
        spans.push(paint.span(Tone::Warn, format!("  paused{at}")));
    }
    Text::from(spans)
}

/// Counts so far: of one server here, of all of them in the grid's own frames.
fn totals(app: &App, paint: Paint) -> Text<'static> {
    let lane = app.lanes.first().filter(|_| !app.grid);
    let spans = lane
        .map(|lane| vec![paint.span(Tone::Quiet, counts(lane)), lost(lane, paint), Span::raw(" ")]);
    Text::from(spans.unwrap_or_default()).right_aligned()
}

fn counts(lane: &Lane) -> String {
    let plural = |count: u64, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    format!("{}, {}, ", plural(lane.events, "event"), plural(lane.connections, "connection"))
}

fn lost(lane: &Lane, paint: Paint) -> Span<'static> {
    let tone = if lane.lost == 0 { Tone::Good } else { Tone::Bad };
    paint.span(tone, format!("{} lost", lane.lost))
}

/// One server: both sides, row by row.
fn panes(frame: &mut Frame<'_>, app: &App, lane: &Lane, paint: Paint, area: Rect) {
    let columns = [Constraint::Length(TIME_WIDTH), Constraint::Fill(1), Constraint::Fill(1)];
    let [times, server, client] = area.layout(&Layout::horizontal(columns));
    let package = &app.packages[lane.package];
    let address = lane.address.map(|it| format!(" :{}", it.port())).unwrap_or_default();
    let spinner = if lane.server == Phase::Building { spinner() } else { "" };
    let name = format!(" SERVER {}{address} {spinner}", package.short_name());
    let server_block =
        block(&name, &lane.server, paint).title_bottom(progress(lane, paint, server.width));
    let mut client_block = block(" CLIENT EventSource ", &lane.client, paint);
    if !lane.last_event_id.is_empty() {
        let id = Text::from(vec![
            paint.span(Tone::Quiet, " last event id "),
            paint.span(Tone::Id, format!("{} ", visible(&lane.last_event_id))),
        ]);
        client_block = client_block.title_bottom(id.right_aligned());
    }
    let (inner_server, inner_client) = (server_block.inner(server), client_block.inner(client));
    frame.render_widget(server_block, server);
    frame.render_widget(client_block, client);
    let time_title = Rect { height: 1, ..times };
    frame.render_widget(paint.span(Tone::Quiet, " min:sec"), time_title);
    let rows = app.rows(lane).window(usize::from(inner_server.height), app.back);
    for (row, y) in rows.zip(inner_server.y..) {
        let time = row.at.strftime("%M:%S%.3f").to_string();
        let at = |area: Rect| Rect { y, height: 1, ..area };
        frame.render_widget(paint.span(Tone::Quiet, format!(" {time}")), at(times));
        for (side, area) in [(Side::Server, inner_server), (Side::Client, inner_client)] {
            if let Some(line) = &row.sides[side as usize] {
                frame.render_widget(paint.line(line, area.width), at(area));
            }
        }
    }
}

/// All servers: the last lines of the client of each.
fn grid(frame: &mut Frame<'_>, app: &App, paint: Paint, area: Rect) {
    let columns = match area.width {
        ..80 => 1,
        80..150 => 2,
        _ => 3,
    };
    let rows = app.lanes.len().div_ceil(columns);
    let heights = Layout::vertical(vec![Constraint::Fill(1); rows]).split(area);
    for (number, lane) in app.lanes.iter().enumerate() {
        let widths = Layout::horizontal(vec![Constraint::Fill(1); columns]);
        let cell = widths.split(heights[number / columns])[number % columns];
        let package = &app.packages[lane.package];
        let spinner = if lane.server == Phase::Building { spinner() } else { "" };
        // A client has nothing to say before its server is there.
        let of = if lane.server == Phase::Open { &lane.client } else { &lane.server };
        let block = block(&format!(" {} {spinner}", package.short_name()), of, paint).title_bottom(
            if lane.server == Phase::Building {
                progress(lane, paint, cell.width)
            } else {
                Text::from(vec![
                    paint.span(Tone::Quiet, format!(" {}", counts(lane))),
                    lost(lane, paint),
                    Span::raw(" "),
                ])
                .right_aligned()
            },
        );
        let inner = block.inner(cell);
        frame.render_widget(block, cell);
        let lines = app.rows(lane).latest(GRID_SIDE, usize::from(inner.height) + app.back);
        for (line, y) in lines.into_iter().take(inner.height.into()).zip(inner.y..) {
            frame.render_widget(paint.line(line, inner.width), Rect { y, height: 1, ..inner });
        }
    }
}

/// Progress of cargo, for the lower border: the first build of a server takes its time.
fn progress(lane: &Lane, paint: Paint, width: u16) -> Text<'static> {
    if lane.progress.is_empty() {
        return Text::default();
    }
    let line = Line::new("").part(Tone::Quiet, &lane.progress);
    let mut text = paint.line(&line, width.saturating_sub(4));
    text.spans.insert(0, Span::raw(" "));
    text.push_span(Span::raw(" "));
    text
}

fn block(name: &str, state: &Phase, paint: Paint) -> Block<'static> {
    let (tone, words) = phase(state);
    let name = Span::styled(name.to_owned(), Style::new().add_modifier(Modifier::BOLD));
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(paint.style(Tone::Quiet))
        .title_top(Text::from(name))
        .title_top(Text::from(paint.span(tone, format!(" {words} "))).right_aligned())
}

/// The keys, on as many lines as they need.
fn key_lines(app: &App, width: u16) -> Vec<Text<'static>> {
    let scenarios = Scenario::ALL.iter().zip(1..).map(|(scenario, number)| {
        (number.to_string(), scenario.name(), *scenario == app.scenario())
    });
    let pause = if app.is_paused { "go on" } else { "pause" };
    let bytes = if app.is_raw { "parsed" } else { "bytes" };
    let mut keys: Vec<(String, &str, bool)> = scenarios.collect();
    let others = [
        ("m", "message"),
        ("d", "drop"),
        ("r", "restart"),
        (NEXT_SERVER, "server"),
        ("b", bytes),
        ("space", pause),
        ("?", "help"),
        ("q", "quit"),
    ];
    let others = others.into_iter().filter(|(key, _)| !(app.grid && *key == NEXT_SERVER));
    keys.extend(others.map(|(key, name)| (key.to_owned(), name, false)));
    let mut lines = vec![Text::default()];
    for (key, name, is_chosen) in keys {
        let width_so_far = lines.last().map_or(0, Text::width);
        if width_so_far + key.chars().count() + name.len() + 4 > usize::from(width) {
            lines.push(Text::default());
        }
        let Some(line) = lines.last_mut() else { continue };
        let style = if is_chosen { Modifier::REVERSED } else { Modifier::empty() };
        line.push_span(Span::raw(if line.width() == 0 { " " } else { "  " }));
        line.push_span(Span::styled(key, Style::new().add_modifier(Modifier::BOLD)));
        line.push_span(Span::raw(" "));
        line.push_span(Span::styled(name, Style::new().add_modifier(style)));
    }
    lines
}

fn type_line(frame: &mut Frame<'_>, typed: &str, bottom: Rect) {
    let prompt = " message, Enter sends, Esc ends: ";
    let line = Rect { height: 1, ..bottom };
    frame.render_widget(Clear, bottom);
    // The end is what one is writing.
    let room = usize::from(bottom.width).saturating_sub(prompt.len() + 1);
    let hidden = typed.chars().count().saturating_sub(room);
    let shown: String = typed.chars().skip(hidden).collect();
    let text = Text::from(vec![Span::raw(prompt), Span::raw(shown)]);
    frame.set_cursor_position((line.x + (text.width() as u16).min(line.width - 1), line.y));
    frame.render_widget(text, line);
}

fn help(frame: &mut Frame<'_>, app: &App, paint: Paint, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let shown = HELP.into_iter().filter(|(key, _)| !(app.grid && *key == NEXT_SERVER));
    let lines: Vec<_> = shown
        .map(|(key, words)| {
            let tone = if key.is_empty() { Tone::Quiet } else { Tone::Plain };
            Text::from(vec![Span::styled(format!(" {key:>7}  "), bold), paint.span(tone, words)])
        })
        .collect();
    let height = (lines.len() as u16 + 2).min(area.height);
    let area = area.centered(Constraint::Length(64.min(area.width)), Constraint::Length(height));
    frame.render_widget(Clear, area);
    let block = Block::bordered().border_type(BorderType::Rounded).title(" Keys ");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn spinner() -> &'static str {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SPINNER[(now.as_millis() / 100 % SPINNER.len() as u128) as usize]
}

#[cfg(test)]
#[path = "draw/tests.rs"]
mod tests;
