//! When do readers have an event, and what does its delivery cost, on one node or on two?
//!
//! The load loop holds half of the readers on each node, in a thread for each. One of them publishes, and the times of
//! both count from its schedule.

use std::thread;

use anyhow::{Context, Result, anyhow};
use load::Shape;
use load::generator::{self, Outcome};
use load::plan::Plan;
use load::shape::Broadcast;
use load::timer::{SECOND_NS, unix_ns};
use rustix::time::{ClockId, clock_gettime};

use super::stage::{Cpu, Stage};
use super::{Measured, Task};

/// Messages before those that count.
const WARM_UP: u64 = 4;

/// From the last connection to the time when all streams have to be open.
const OPEN_NS: u64 = SECOND_NS;

/// A look at a mark.
#[derive(Debug, Clone, Copy)]
struct Look {
    at_ns: u64,
    cpu: Cpu,
    load_ns: u64,
}

/// Measures, on nodes that were just started; `core` is that of the load.
pub(super) fn window(
    stage: &Stage,
    subscribers: u64,
    messages: u64,
    interval_us: u64,
    core: Option<usize>,
) -> Result<Measured> {
    let nodes = stage.nodes();
    let each = subscribers / nodes.len() as u64;
    let (warm_up, pad_bytes, stalled_each) = (WARM_UP, 0, 0);
    let shape =
        Broadcast { subscribers: each, interval_us, warm_up, messages, pad_bytes, stalled_each };
    let shape = Shape::Broadcast(shape);
    let now_ns = unix_ns();
    let mut plans: Vec<Plan> =
        nodes.iter().map(|node| shape.plan_with_slack(node.address(), now_ns, OPEN_NS)).collect();
    for plan in &mut plans[1..] {
        plan.publish = None;
        plan.marks_ns.clear();
    }
    let mut looks = Vec::new();
    let outcomes = fleet::on_core(core, || run(&plans, stage, &mut looks))?;
    let expected = each * nodes.len() as u64 * messages;
    measured(Task::FanOut { subscribers, messages, interval_us }, &outcomes, &looks, expected)
}

/// Runs all plans at the same time. The first one has the marks.
fn run(plans: &[Plan], stage: &Stage, looks: &mut Vec<Result<Look>>) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let others: Vec<_> = plans[1..]
            .iter()
            .map(|plan| scope.spawn(|| generator::run(plan, unix_ns, |_| {})))
            .collect();
        let first = generator::run(&plans[0], unix_ns, |_| looks.push(look(stage)))?;
        let mut outcomes = vec![first];
        for it in others {
            outcomes.push(it.join().map_err(|_| anyhow!("the load loop has panicked"))??);
        }
        Ok(outcomes)
    })
}

fn look(stage: &Stage) -> Result<Look> {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let load_ns = own.tv_sec as u64 * SECOND_NS + own.tv_nsec as u64;
    Ok(Look { at_ns: unix_ns(), cpu: stage.cpu()?, load_ns })
}

fn measured(
    task: Task,
    outcomes: &[Outcome],
    looks: &[Result<Look>],
    expected: u64,
) -> Result<Measured> {
    let mut latency_ns = load::ledger::new_histogram();
    for it in outcomes {
        latency_ns.add(&it.latency_ns).context("histograms of the same bounds")?;
    }
    let faults = outcomes.iter().filter_map(|it| it.fault().or_else(|| it.falls_behind()));
    let faults = faults.collect::<Vec<_>>().join("; ");
    let void = (!faults.is_empty()).then_some(faults);
    let (first, last) = match looks {
        [Ok(first), Ok(last)] => (first, last),
        _ => {
            return Ok(Measured {
                void: void.or(Some("no CPU time".into())),
                ..Measured::default()
            });
        }
    };
    let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let Cpu { nodes_ns, broker_ns } = last.cpu.since(first.cpu);
    let messages = match task {
        Task::FanOut { messages, .. } => messages as f64,
        _ => 1.0,
    };
    let mut figures = vec![
        (task.label("latency p50, µs"), us(0.50)),
        (task.label("latency p99, µs"), us(0.99)),
        (task.label("node CPU, µs/delivery"), nodes_ns as f64 / 1e3 / expected as f64),
    ];
    if last.cpu.broker_ns > 0 {
        figures.push((task.label("broker CPU, µs/message"), broker_ns as f64 / 1e3 / messages));
    }
    let load_share = (last.load_ns - first.load_ns) as f64 / (last.at_ns - first.at_ns) as f64;
    Ok(Measured { figures, load_share, void })
}
