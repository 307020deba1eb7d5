//! The output of callgrind: for each instruction how often it ran, and which functions called which.
//!
//! Source: [the format](https://valgrind.org/docs/manual/cl-format.html), with `--dump-instr=yes`.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// A dump of callgrind.
#[derive(Debug, Default)]
pub struct Profile {
    /// Objects (programs and libraries) and functions, by the numbers of the entries below.
    pub objects: Vec<String>,
    /// Names of functions.
    pub functions: Vec<String>,
    /// The cost of each instruction itself.
    pub own: Vec<Cost>,
    /// The calls.
    pub calls: Vec<Call>,
}

/// A place in the code: an object, a function in it, an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The number of the object.
    pub object: usize,
    /// The number of the function.
    pub function: usize,
    /// As in the file of the object, wherever that lies in memory.
    pub address: u64,
}

/// The cost of an instruction.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Where.
    pub at: Place,
    /// How often it ran.
    pub instructions: u64,
    /// How many system calls it made.
    pub system_calls: u64,
}

/// All calls from one place to one function.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Where it is called.
    pub from: Place,
    /// The object and the function that are called.
    pub to: (usize, usize),
    /// How often.
    pub count: u64,
    /// Instructions of the function and of all that it called.
    pub inclusive: u64,
}

impl Profile {
    /// Parses a dump.
    ///
    /// # Errors
    /// If a line is not as the format says.
    pub fn parse(text: &str) -> Result<Profile> {
        let mut parser = Parser::default();
        for (number, line) in (1..).zip(text.lines()) {
            parser.line(line).with_context(|| format!("line {number} of callgrind's: {line:?}"))?;
        }
        Ok(parser.profile)
    }
}

#[derive(Default)]
struct Parser {
    profile: Profile,
    objects: Names,
    functions: Names,
    /// Where the next cost belongs.
    at: Option<Place>,
    object: usize,
    callee: (usize, usize),
    /// Calls whose cost stands in the next line.
    calls: Option<u64>,
    position: [u64; 2],
}

/// Names that are written out once, then only numbered: `(12) name`, later `(12)`.
#[derive(Default)]
struct Names(HashMap<u64, usize>);

impl Names {
    fn find(&mut self, text: &str, names: &mut Vec<String>) -> Result<usize> {
        let (number, name) =
            text.strip_prefix('(').and_then(|it| it.split_once(')')).unwrap_or(("", text));
        let number: u64 = number.parse().context("no number of a name")?;
        let name = name.trim();
        if !name.is_empty() {
            names.push(name.to_owned());
            self.0.insert(number, names.len() - 1);
        }
        self.0.get(&number).copied().context("a name without a text")
    }
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<()> {
        let starts_cost = |first: char| first.is_ascii_digit() || ['+', '-', '*'].contains(&first);
        if line.starts_with(starts_cost) {
            return self.cost(line);
        }
        let Some((key, value)) = line.split_once('=') else { return Ok(()) };
        let Profile { objects, functions, .. } = &mut self.profile;
        match key {
            "ob" => self.object = self.objects.find(value, objects)?,
            "fn" => {
                let function = self.functions.find(value, functions)?;
                self.callee.0 = self.object;
                self.at = Some(Place { object: self.object, function, address: 0 });
            }
            "cob" => self.callee.0 = self.objects.find(value, objects)?,
            "cfn" => self.callee.1 = self.functions.find(value, functions)?,
            "calls" => {
                let count = value.split(' ').next().unwrap_or_default();
                self.calls = Some(count.parse().context("no count of calls")?);
            }
            // Files: the debug information knows more about them.
            _ => {}
        }
        Ok(())
    }

    /// `address line instructions system-calls time`; positions may be relative to those before.
    fn cost(&mut self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        for position in &mut self.position {
            let word = words.next().context("no position")?;
            *position = moved(*position, word).context("no position")?;
        }
        let mut number = || words.next().map_or(Ok(0), str::parse);
        let (instructions, system_calls) = (number()?, number()?);
        let at = self.at.context("a cost before any function")?;
        let at = Place { address: self.position[0], ..at };
        match self.calls.take() {
            Some(count) => {
                let call = Call { from: at, to: self.callee, count, inclusive: instructions };
                self.profile.calls.push(call);
                self.callee.0 = self.object;
            }
            None => self.profile.own.push(Cost { at, instructions, system_calls }),
        }
        Ok(())
    }
}

/// A position after this word: `*` the same, `+N` and `-N` by so much, else a number.
fn moved(position: u64, word: &str) -> Option<u64> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match word.split_at_checked(1)? {
        ("*", "") => Some(position),
        ("+", by) => Some(position.wrapping_add(number(by)?)),
        ("-", by) => Some(position.wrapping_sub(number(by)?)),
        _ => number(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_and_calls_are_read_with_their_positions() {
        let text = "version: 1\npositions: instr line\nevents: Ir sysCount sysTime\n\
                    ob=(1) /bin/a\nfl=(1) a.rs\nfn=(1) main\n0x10 5 3\n+4 +1 2 1 9\n\
                    cob=(2) libc.so\ncfi=(2) ???\ncfn=(2) malloc\ncalls=7 0x99 0\n* * 70\n\
                    fi=(3) b.rs\n+8 * 1\nfn=(3) other\n+8 9 1\ncfn=(1)\ncalls=1 +1 2\n* * 4\n";
        let profile = Profile::parse(text).unwrap();
        let own: Vec<_> = profile
            .own
            .iter()
            .map(|it| (it.at.function, it.at.address, it.instructions, it.system_calls))
            .collect();
        assert_eq!(own, [(0, 0x10, 3, 0), (0, 0x14, 2, 1), (0, 0x1c, 1, 0), (2, 0x24, 1, 0)]);
        let calls: Vec<_> =
            profile.calls.iter().map(|it| (it.to, it.count, it.inclusive)).collect();
        assert_eq!(calls, [((1, 1), 7, 70), ((0, 0), 1, 4)]);
        assert_eq!(profile.functions, ["main", "malloc", "other"]);
        assert!(Profile::parse("fn=(1) x\n+4\n").is_err());
    }
}
