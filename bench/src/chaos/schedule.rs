//! The schedule of a run: which disturbance comes when. Data, which a seed decides and a file keeps.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// The version of the file. It grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// How often each client is moved, milliseconds: as often as phones change networks on a train.
const MOVE_EACH_MS: u64 = 15_000;
/// How often a node is killed, a node is held, and a broker is restarted, milliseconds.
const KILL_EACH_MS: u64 = 8_000;
const STOP_EACH_MS: u64 = 10_000;
const BROKER_EACH_MS: u64 = 30_000;

/// A node is left alone for so long after it was killed or held.
const REST_MS: u64 = 2_000;

/// Between two steps of a schedule that was made shorter, and behind the last one, at most.
const PAUSE_MS: u64 = 2_000;

/// Messages of a run at most: as many as the servers can be told to retain.
const MESSAGES: u64 = 900_000;

/// The bytes behind which a connection is cut: within an event, between two, within a head.
const CUT_BYTES: u64 = 4_096;

/// All that a run needs to be the same again, but for the time that each thing takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The version of this format.
    pub schema: u32,
    /// The seed that it comes from.
    pub seed: u64,
    /// The servers, a node each.
    pub nodes: Vec<String>,
    /// Brokers: 1, or 3 with three copies of each message.
    pub brokers: usize,
    /// Readers.
    pub clients: usize,
    /// Messages a second, of all publishers.
    pub rate: u64,
    /// Publishers begin no message after this time.
    pub duration_ms: u64,
    /// Messages that the stream and the nodes retain.
    pub retain: u32,
    /// Whether absences are longer than the retention: then gaps are allowed, and silence is not.
    pub gaps: bool,
    /// Why messages that were acknowledged may be missing in the broker's stream, if they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_loss: Option<String>,
    /// The disturbances, in the order of their times.
    pub steps: Vec<Step>,
}

/// A disturbance and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds from the first message.
    pub at_ms: u64,
    /// The disturbance.
    #[serde(flatten)]
    pub action: Action,
}

/// A disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// A client closes its stream, and comes back at another node with its last id.
    Move {
        /// The client.
        client: usize,
        /// The other node.
        node: usize,
        /// How long it stays away.
        away_ms: u64,
    },
    /// A connection is cut behind so many further bytes.
    Cut {
        /// The client.
        client: usize,
        /// Bytes that it still gets.
        after_bytes: u64,
    },
    /// SIGKILL for a node, and another start.
    Kill {
        /// The node.
        node: usize,
        /// How long it is away.
        down_ms: u64,
    },
    /// SIGSTOP for a node, then SIGCONT.
    Stop {
        /// The node.
        node: usize,
        /// How long it is held.
        for_ms: u64,
    },
    /// SIGKILL for a broker, and another start with the store that it has.
    RestartBroker {
        /// The broker.
        broker: usize,
        /// How long it is away.
        down_ms: u64,
    },
    /// Planted, to see the command fail: the way to this client swallows the next whole event.
    SwallowEvent {
        /// The client.
        client: usize,
    },
    /// Planted: the way to this client plays the next whole event twice.
    RepeatEvent {
        /// The client.
        client: usize,
    },
    /// Planted: the client comes back with the id before its last one.
    ForgetEvent {
        /// The client.
        client: usize,
    },
    /// Planted: the newest message that was acknowledged is removed from the broker's stream.
    RemoveMessage,
}

/// The numbers that a seed needs to decide a schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    /// As in [`Schedule`].
    pub seed: u64,
    /// As in [`Schedule`].
    pub nodes: Vec<String>,
    /// As in [`Schedule`].
    pub brokers: usize,
    /// As in [`Schedule`].
    pub clients: usize,
    /// As in [`Schedule`].
    pub rate: u64,
    /// As in [`Schedule`].
    pub gaps: bool,
    /// How long, or how often clients are moved.
    pub length: Length,
}

/// The length of a run.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// By the clock, seconds.
    Seconds(u64),
    /// By the moves of clients.
    Moves(u64),
}

impl Schedule {
    /// The schedule that a seed decides.
    ///
    /// # Errors
    /// When the run would be too long.
    pub fn of(plan: &Plan) -> Result<Schedule> {
        let clients = plan.clients.max(1) as u64;
        let (duration_ms, moves) = match plan.length {
            Length::Seconds(it) => (it * 1000, it * 1000 * clients / MOVE_EACH_MS),
            Length::Moves(it) => ((it * MOVE_EACH_MS).div_ceil(clients), it),
        };
        let messages = duration_ms * plan.rate / 1000;
        ensure!(
            messages <= MESSAGES,
            "{messages} messages are more than the servers can retain ({MESSAGES}); make it shorter, or --rate lower"
        );
        // More than all of them, or with gaps about a second of them.
        let retain = if plan.gaps { plan.rate.max(10) } else { messages + messages / 4 + 10_000 };
        let mut schedule = Schedule {
            schema: SCHEMA,
            seed: plan.seed,
            nodes: plan.nodes.clone(),
            brokers: plan.brokers,
            clients: plan.clients,
            rate: plan.rate,
            duration_ms,
            retain: u32::try_from(retain.min(1_000_000)).unwrap_or(u32::MAX),
            gaps: plan.gaps,
            broker_loss: None,
            steps: Vec::new(),
        };
        let mut rng = Rng::with_seed(plan.seed);
        schedule.add_moves_and_cuts(&mut rng, moves);
        schedule.add_bad_days(&mut rng);
        schedule.steps.sort_by_key(|it| it.at_ms);
        Ok(schedule)
    }

    fn add_moves_and_cuts(&mut self, rng: &mut Rng, moves: u64) {
        for number in 0..moves {
            let away_ms = match (self.gaps, rng.u8(..4)) {
                (true, _) => rng.u64(1500..6000),
                (false, 0) => rng.u64(..3000),
                (false, _) => 0,
            };
            let (client, node) = (rng.usize(..self.clients), rng.usize(..self.nodes.len()));
            let action = Action::Move { client, node, away_ms };
            self.steps.push(Step { at_ms: rng.u64(..self.duration_ms.max(1)), action });
            if number % 2 == 0 {
                let client = rng.usize(..self.clients);
                let action = Action::Cut { client, after_bytes: rng.u64(..CUT_BYTES) };
                self.steps.push(Step { at_ms: rng.u64(..self.duration_ms.max(1)), action });
            }
        }
    }

    /// Nodes that are killed and held, at most half of them at a time, and brokers that are restarted.
    fn add_bad_days(&mut self, rng: &mut Rng) {
        let mut busy_until = vec![0; self.nodes.len()];
        let most = (self.nodes.len() / 2).max(1);
        let mut days: Vec<(u64, bool)> = Vec::new();
        for (each, is_kill) in [(KILL_EACH_MS, true), (STOP_EACH_MS, false)] {
            let count = self.duration_ms / each;
            days.extend((0..count).map(|it| (it * each + rng.u64(..each), is_kill)));
        }
        days.sort_unstable();
        for (at_ms, is_kill) in days {
            let free: Vec<usize> =
                (0..busy_until.len()).filter(|it| busy_until[*it] <= at_ms).collect();
            let busy = busy_until.len() - free.len();
            if busy >= most {
                continue;
            }
            let node = free[rng.usize(..free.len())];
            let takes = rng.u64(200..4500);
            busy_until[node] = at_ms + takes + REST_MS;
            let action = match is_kill {
                true => Action::Kill { node, down_ms: takes },
                false => Action::Stop { node, for_ms: takes },
            };
            self.steps.push(Step { at_ms, action });
        }
        for number in 0..self.duration_ms.div_ceil(BROKER_EACH_MS) {
            let broker = rng.usize(..self.brokers);
            let action = Action::RestartBroker { broker, down_ms: rng.u64(100..3000) };
            let span = BROKER_EACH_MS.min(self.duration_ms).max(1);
            self.steps.push(Step { at_ms: number * BROKER_EACH_MS + rng.u64(..span), action });
        }
        self.steps.retain(|it| it.at_ms < self.duration_ms);
    }

    /// The same with these steps only, and without the long waits between them.
    #[must_use]
    pub fn with_steps(&self, steps: &[Step]) -> Schedule {
        let (mut before, mut at_ms) = (0, 0);
        let closer = |step: &Step| {
            at_ms += (step.at_ms - before).min(PAUSE_MS);
            before = step.at_ms;
            Step { at_ms, action: step.action }
        };
        let steps: Vec<Step> = steps.iter().map(closer).collect();
        Schedule { duration_ms: at_ms + PAUSE_MS, steps, ..self.clone() }
    }

    /// Reads a schedule from a file.
    ///
    /// # Errors
    /// When it cannot be read, or names a client, node or broker that it does not have.
    pub fn read(path: &Path) -> Result<Schedule> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let schedule: Schedule = serde_json::from_str(&text).with_context(|| {
            format!("{shown} is no schedule; sse-bench chaos --print makes one")
        })?;
        schedule.check().with_context(|| format!("{shown} cannot be played"))?;
        Ok(schedule)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.schema == SCHEMA, "its schema is {}, not {SCHEMA}", self.schema);
        ensure!(!self.nodes.is_empty() && self.clients > 0 && self.rate > 0, "it is empty");
        ensure!(matches!(self.brokers, 1 | 3), "{} brokers: there are 1 or 3", self.brokers);
        ensure!(self.steps.is_sorted_by_key(|it| it.at_ms), "its steps are not in order");
        for Step { at_ms, action } in &self.steps {
            let (what, number, all) = match *action {
                Action::Move { node, .. } if node >= self.nodes.len() => {
                    ("node", node, self.nodes.len())
                }
                Action::Move { client, .. }
                | Action::Cut { client, .. }
                | Action::SwallowEvent { client }
                | Action::RepeatEvent { client }
                | Action::ForgetEvent { client } => ("client", client, self.clients),
                Action::Kill { node, .. } | Action::Stop { node, .. } => {
                    ("node", node, self.nodes.len())
                }
                Action::RestartBroker { broker, .. } => ("broker", broker, self.brokers),
                Action::RemoveMessage => continue,
            };
            if number >= all {
                bail!("the step at {at_ms} ms is for {what} {number}, and there are {all} from 0");
            }
        }
        Ok(())
    }

    /// As it stands in a file: a line for each step.
    pub fn to_json(&self) -> String {
        let mut head = Schedule { steps: Vec::new(), ..self.clone() };
        head.steps.shrink_to_fit();
        let head = serde_json::to_string_pretty(&head).expect("plain data");
        let head = head.trim_end_matches("[]\n}");
        let line = |step: &Step| serde_json::to_string(step).expect("plain data");
        let lines: Vec<String> = self.steps.iter().map(|it| format!("    {}", line(it))).collect();
        match lines.as_slice() {
            [] => format!("{head}[]\n}}\n"),
            lines => format!("{head}[\n{}\n  ]\n}}\n", lines.join(",\n")),
        }
    }

    /// How many steps are of this kind.
    pub fn count(&self, is_of_kind: impl Fn(&Action) -> bool) -> usize {
        self.steps.iter().filter(|it| is_of_kind(&it.action)).count()
    }

    /// Whether a step plants a fault into the bytes of a client.
    pub fn edits_bytes(&self) -> bool {
        let edits =
            |it: &Action| matches!(it, Action::SwallowEvent { .. } | Action::RepeatEvent { .. });
        self.count(edits) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, length: Length) -> Plan {
        let nodes = ["one", "two", "three", "four"].map(str::to_owned).to_vec();
        Plan { seed, nodes, brokers: 3, clients: 50, rate: 200, gaps: false, length }
    }

    #[test]
    fn a_seed_decides_the_schedule_and_a_file_keeps_it() {
        let one = Schedule::of(&plan(7, Length::Seconds(60))).unwrap();
        assert_eq!(one, Schedule::of(&plan(7, Length::Seconds(60))).unwrap());
        assert_ne!(one.steps, Schedule::of(&plan(8, Length::Seconds(60))).unwrap().steps);
        for schedule in [one.clone(), one.with_steps(&[])] {
            let json = schedule.to_json();
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule, "{json}");
        }
        assert!(one.to_json().lines().count() < one.steps.len() + 20);
        one.check().unwrap();
    }

    #[test]
    fn it_has_all_kinds_of_steps_and_the_moves_that_were_asked_for() {
        let schedule = Schedule::of(&plan(1, Length::Moves(1000))).unwrap();
        assert_eq!(schedule.duration_ms, 300_000);
        assert_eq!(schedule.count(|it| matches!(it, Action::Move { .. })), 1000);
        assert_eq!(schedule.count(|it| matches!(it, Action::Cut { .. })), 500);
        assert!(schedule.count(|it| matches!(it, Action::Kill { .. })) > 20);
        assert!(schedule.count(|it| matches!(it, Action::Stop { .. })) > 15);
        assert_eq!(schedule.count(|it| matches!(it, Action::RestartBroker { .. })), 10);
        assert!(!schedule.edits_bytes());
    }

    #[test]
    fn at_most_half_of_the_nodes_are_away() {
        let schedule = Schedule::of(&plan(3, Length::Seconds(600))).unwrap();
        let span = |step: &Step| match step.action {
            Action::Kill { down_ms: it, .. } | Action::Stop { for_ms: it, .. } => {
                Some(step.at_ms..step.at_ms + it)
            }
            _ => None,
        };
        let spans: Vec<_> = schedule.steps.iter().filter_map(span).collect();
        let at_once = |at: u64| spans.iter().filter(|it| it.contains(&at)).count();
        assert!(spans.iter().all(|it| at_once(it.start) <= 2));
    }

    #[test]
    fn fewer_steps_stand_closer() {
        let schedule = Schedule::of(&plan(7, Length::Seconds(60))).unwrap();
        let [first, .., last] = schedule.steps.as_slice() else { panic!("steps") };
        let short = schedule.with_steps(&[first.clone(), last.clone()]);
        assert!(short.duration_ms <= 3 * PAUSE_MS, "{short:?}");
        assert_eq!(short.steps[1].action, last.action);
        short.check().unwrap();
    }

    #[test]
    fn a_schedule_that_cannot_be_played_says_why() {
        let mut schedule = Schedule::of(&plan(7, Length::Seconds(1))).unwrap();
        schedule.steps = vec![Step { at_ms: 5, action: Action::Kill { node: 4, down_ms: 1 } }];
        let error = schedule.check().unwrap_err().to_string();
        assert_eq!(error, "the step at 5 ms is for node 4, and there are 4 from 0");
        let error = Schedule::of(&plan(7, Length::Seconds(86_400))).unwrap_err().to_string();
        assert!(error.contains("--rate lower"), "{error}");
    }
}
