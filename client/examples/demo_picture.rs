//! Draws the README's picture of `sse demo`: a real run in a real terminal (tmux), as SVG.
//!
//! `cargo run -p sse-client --example demo_picture -- client/pictures/demo.svg`
#![allow(clippy::unwrap_used)] // A tool of this repository; whatever fails ends it.

#[path = "../tests/tmux/mod.rs"]
mod tmux;

use std::fmt::Write as _;

use tmux::Terminal;

const WIDTH: u16 = 100;
const HEIGHT: u16 = 29;

/// A character's box, pixels.
const CELL: (f32, f32) = (8.4, 18.0);
const FONT_PX: f32 = 14.0;
/// Where the base line lies in the box.
const BASE: f32 = 13.5;
const MARGIN: f32 = 14.0;

const BACKGROUND: &str = "#14181d";
const FOREGROUND: &str = "#d8dee6";

/// The eight colours, from black to white.
const COLOURS: [&str; 8] =
    ["#2c333b", "#f2777a", "#7fd18c", "#f0c674", "#7aa6f0", "#d191e0", "#6cc7d6", FOREGROUND];

/// How a character looks.
#[derive(Clone, Copy, Default, PartialEq)]
struct Look {
    colour: Option<usize>,
    bold: bool,
    dim: bool,
    reversed: bool,
}

fn main() {
    let path = std::env::args().nth(1).expect("give the file to write, ending in .svg");
    let screen = record();
    let svg = draw(&screen);
    std::fs::write(&path, &svg).unwrap();
    println!("{path}: {} bytes", svg.len());
}

/// Ticks, a connection that is dropped, a server that is restarted: and nothing is lost.
fn record() -> String {
    // Before, so that the pane shows the demo and not how it is compiled.
    for what in [["-p", "sse-axum", "--bins"], ["-p", env!("CARGO_PKG_NAME"), "--bins"]] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = std::process::Command::new(cargo).arg("build").args(what).status();
        assert!(status.unwrap().success());
    }
    let example = std::env::current_exe().unwrap();
    let sse = example.ancestors().nth(2).unwrap().join("sse");
    let terminal = Terminal::start(WIDTH, HEIGHT, &format!("'{}' demo axum", sse.display()));
    terminal.see("event 3");
    terminal.press(&["d"]);
    terminal.see("2 connections");
    terminal.see("event 5");
    terminal.press(&["r"]);
    terminal.see("3 connections, 0 lost");
    terminal.see("event 8");
    let screen = terminal.screen_in_colour();
    terminal.press(&["q"]);
    screen
}

/// The screen as SVG: text in rows, frames as lines, so that no font can tear them.
fn draw(screen: &str) -> String {
    let width = f32::from(WIDTH) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(HEIGHT) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" font-size=\"{FONT_PX}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', \
         monospace\">\n<title>sse demo axum</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    // tmux says a look once, and goes on with it in the next line.
    let mut look = Look::default();
    for (line, row) in screen.lines().zip(0_u16..) {
        let y = MARGIN + f32::from(row) * CELL.1;
        for (column, look, text) in runs(line, &mut look) {
            draw_run(&mut svg, (MARGIN + f32::from(column) * CELL.0, y), look, &text);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Pieces of a line that look alike, and the column that each begins at.
fn runs(line: &str, look: &mut Look) -> Vec<(u16, Look, String)> {
    let mut runs: Vec<(u16, Look, String)> = Vec::new();
    let mut column = 0;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\x1b[") {
            let (numbers, after) = sequence.split_once('m').expect("tmux writes only colours");
            // crossterm's colours have the form 38;5;N, of which the first eight are these.
            let numbers = numbers.replace("38;5;", "3");
            numbers.split(';').for_each(|number| change(look, number));
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        let is_frame = |c: char| stroke(c, (0.0, 0.0)).is_some();
        match runs.last_mut() {
            Some((_, last, text))
                if *last == *look && !is_frame(c) && !text.chars().all(is_frame) =>
            {
                text.push(c);
            }
            _ => runs.push((column, *look, c.to_string())),
        }
        column += 1;
    }
    runs.retain(|(_, look, text)| look.reversed || !text.trim().is_empty());
    runs
}

fn change(look: &mut Look, number: &str) {
    match number.parse::<usize>().unwrap_or(0) {
        0 => *look = Look::default(),
        1 => look.bold = true,
        2 => look.dim = true,
        7 => look.reversed = true,
        22 => (look.bold, look.dim) = (false, false),
        27 => look.reversed = false,
        number @ 30..=37 => look.colour = Some(number - 30),
        number @ 90..=97 => look.colour = Some(number - 90),
        39 => look.colour = None,
        49 => {}
        other => panic!("the demo does not use the sequence {other}"),
    }
}

fn draw_run(svg: &mut String, (x, y): (f32, f32), look: Look, text: &str) {
    let colour = look.colour.map_or(FOREGROUND, |number| COLOURS[number]);
    let opacity = if look.dim { " opacity=\"0.55\"" } else { "" };
    if let Some(path) = text.chars().next().and_then(|c| stroke(c, (x, y))) {
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"1.2\" fill=\"none\"{opacity}/>"
        );
        return;
    }
    let width = text.chars().count() as f32 * CELL.0;
    let mut fill = colour;
    if look.reversed {
        let (top, height) = (y + 1.0, CELL.1 - 2.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        );
        fill = BACKGROUND;
    }
    let weight = if look.bold { " font-weight=\"bold\"" } else { "" };
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let base = y + BASE;
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{base:.1}\" textLength=\"{width:.1}\" xml:space=\"preserve\" \
         fill=\"{fill}\"{weight}{opacity}>{escaped}</text>"
    );
}

/// A frame's character as a path in its box.
fn stroke(c: char, (x, y): (f32, f32)) -> Option<String> {
    let (right, bottom) = (x + CELL.0, y + CELL.1);
    let (middle, centre) = (x + CELL.0 / 2.0, y + CELL.1 / 2.0);
    let corner = |from_y: f32, to_x: f32| {
        format!("M{middle:.1} {from_y:.1}Q{middle:.1} {centre:.1} {to_x:.1} {centre:.1}")
    };
    Some(match c {
        '─' => format!("M{x:.1} {centre:.1}H{right:.1}"),
        '│' => format!("M{middle:.1} {y:.1}V{bottom:.1}"),
        '╭' => corner(bottom, right),
        '╮' => corner(bottom, x),
        '╯' => corner(y, x),
        '╰' => corner(y, right),
        _ => return None,
    })
}
