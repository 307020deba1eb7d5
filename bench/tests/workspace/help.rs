//! The help of both programs: it is read in a terminal of 80 columns.
//!
//! clap breaks a line that is longer than the terminal is wide, and never joins two. So a paragraph
//! is one line in the source, and a line of a list, which has its columns, fits from the start.

use std::fmt::Write as _;
use std::process::Command;

use crate::command_line::{printed, subcommands};
use crate::elsewhere::installed;

/// The usual width of a terminal.
const TERMINAL: usize = 80;
/// No paragraph is so long, so clap breaks none.
const WIDE: usize = 100_000;

/// The only headings above options.
const HEADINGS: [&str; 6] = ["Options", "Judging", "Publishing", "Request", "Faults", "Output"];
/// All that may stand under `Request`.
const REQUEST: [&str; 7] =
    ["method", "data", "header", "cacert", "insecure", "server-name", "http2"];
/// All that stands under `Output` in each command that has groups; more may.
const OUTPUT: [&str; 7] = ["json", "html", "junit", "md", "hlog", "splice", "wide"];

/// A command with its subcommands, such as `sse-bench list cases`.
type Words = Vec<String>;

fn help(command: &Words, columns: usize) -> String {
    let mut process = Command::new(installed().join(&command[0]));
    // No stream is a terminal, so clap takes the width from the environment.
    process.args(&command[1..]).arg("--help").env("COLUMNS", columns.to_string());
    printed(process.output().unwrap())
}

/// Both programs and all their subcommands, as the help lists them.
fn commands() -> Vec<Words> {
    let mut commands = vec![vec!["sse-bench".to_owned()], vec!["sse".to_owned()]];
    let mut at = 0;
    while at < commands.len() {
        let command = commands[at].clone();
        let further = help(&command, WIDE);
        let names = subcommands(&further).into_iter().map(ToOwned::to_owned);
        commands.extend(names.map(|name| [&command[..], &[name]].concat()));
        at += 1;
    }
    assert!(commands.len() >= 30, "{commands:?}");
    commands
}

/// Runs a rule on the help of each command, and fails with all that it finds.
#[track_caller]
fn each(columns: usize, rule: impl Fn(&str) -> Vec<String>) {
    let mut faults = String::new();
    for command in commands() {
        for fault in rule(&help(&command, columns)) {
            let _ = writeln!(faults, "{}: {fault}", command.join(" "));
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn help_fits_into_a_terminal_of_80_columns() {
    each(TERMINAL, too_long);
}

#[test]
fn examples_fit_and_paragraphs_are_not_broken_by_hand() {
    each(WIDE, |help| badly_set(behind_options(help)));
}

#[test]
fn options_stand_under_the_same_few_headings() {
    each(WIDE, misplaced);
}

fn too_long(text: &str) -> Vec<String> {
    let is_long = |line: &&str| line.chars().count() > TERMINAL;
    text.lines().filter(is_long).map(|line| format!("over 80 columns: {line}")).collect()
}

/// Rules for a text that clap has not broken.
fn badly_set(text: &str) -> Vec<String> {
    let of_list: Vec<_> = text.lines().filter(|line| line.starts_with("  ")).collect();
    let mut faults = too_long(&of_list.join("\n"));
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with("  ");
    for (line, next) in text.lines().zip(text.lines().skip(1)) {
        if is_prose(line) && is_prose(next) {
            faults.push(format!("one paragraph is one line: {line}\n    {next}"));
        }
    }
    faults
}

/// The name of the option that a line is about: `  -d, --data <TEXT>`, `      --json <FILE>`.
fn option(line: &str) -> Option<&str> {
    let long = match line.strip_prefix("  -") {
        Some(short) => short.get(1..)?.strip_prefix(", --")?,
        None => line.strip_prefix("      --")?,
    };
    long.split([' ', '.', '[', '=']).next()
}

/// The text behind the last option: examples, lists, prose.
fn behind_options(help: &str) -> &str {
    // Values of an option are further in than all that is ours.
    let is_of_option = |block: &str| {
        block.starts_with("          ") || block.lines().any(|it| option(it).is_some())
    };
    let mut behind = "";
    let mut at = 0;
    for block in help.split_inclusive("\n\n") {
        at += block.len();
        if is_of_option(block) {
            behind = &help[at..];
        }
    }
    behind
}

/// Options under a heading of their own, or under the wrong one.
fn misplaced(help: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut heading = "";
    let mut found = Vec::new();
    for line in help.lines() {
        let is_heading = !line.starts_with(' ') && line.ends_with(':');
        match option(line) {
            None if is_heading => heading = line.trim_end_matches(':'),
            None => {}
            Some(name) => found.push((heading, name)),
        }
    }
    let has_groups = found.iter().any(|it| it.0 != "Options");
    for (heading, name) in found {
        let is_of_output = OUTPUT.contains(&name) && has_groups;
        if !HEADINGS.contains(&heading)
            || (is_of_output && heading != "Output")
            || (heading == "Request" && !REQUEST.contains(&name))
        {
            faults.push(format!("--{name} stands under {heading:?}"));
        }
    }
    faults
}

#[test]
fn faults_of_a_help_are_found() {
    let line = |width: usize| format!("  {}\n", "x".repeat(width - 2));
    assert!(too_long(&line(80)).is_empty() && too_long(&line(81)).len() == 1);
    assert!(badly_set("Examples:\n  sse tail URL\n\nOne paragraph.\n\nAnd one more.\n").is_empty());
    assert_eq!(badly_set("One paragraph\nin two lines.\n").len(), 1);
    assert_eq!(badly_set(&line(81)).len(), 1);
    let help = "Usage: x\n\nOptions:\n  -h, --help  Print help\n\nRequest:\n      --json <FILE>  Write\n\n\
                Examples:\n  x --json -\n";
    assert_eq!(behind_options(help), "Examples:\n  x --json -\n");
    assert_eq!(misplaced(help).len(), 1, "it is an output, and no part of a request");
    assert!(misplaced(&help.replace("Request:", "Output:")).is_empty());
    assert_eq!(misplaced(&help.replace("Request:", "Results:")).len(), 1);
}
