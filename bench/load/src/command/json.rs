//! The result of a load run, as JSON.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Args;
use crate::ledger::{Outcome, Step};
use crate::stats::Distribution;
use crate::truths::Check;
use crate::waits::{Ends, Refusal, Slowest};

/// All of it. Times are nanoseconds, and waits count from the request, or from when it was due (`--rate`).
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    schema: u32,
    url: &'a str,
    connections: u64,
    opened: u64,
    not_open_in_time: u64,
    ended_early: u64,
    published: u64,
    publish_failures: u64,
    seconds: f64,
    events: u64,
    events_per_s: f64,
    bytes: u64,
    reads: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
    ends: Ends,
    refusals: &'a [Refusal],
    latency: Option<Distribution>,
    connect_time: Option<Distribution>,
    time_to_headers: Option<Distribution>,
    time_to_first_byte: Option<Distribution>,
    time_to_first_event: Option<Distribution>,
    time_to_second_event: Option<Distribution>,
    /// Between two events of one stream; 0 if one read had both.
    gap: Option<Distribution>,
    /// Gaps that are 0.
    events_together: u64,
    /// Of each stream with two events or more.
    mean_gap: Option<Distribution>,
    /// Of each stream that ended as it should.
    duration: Option<Distribution>,
    /// Events of each stream that opened.
    events_each: Option<Each>,
    streams_without_events: u64,
    stalls: Option<Stalls>,
    goodput: Option<Goodput<'a>>,
    slowest: Option<Slowest>,
    timeline: &'a [Step],
    first_failure: Option<&'a str>,
    failed_conditions: &'a [String],
    /// How long the generator wanted a core of this host and had none; the times above have that in them.
    waited_for_a_core_ns: u64,
    /// Known truths, and whether the generator found them before this run.
    self_check: &'a [Check],
}

/// Answers that end.
#[derive(Debug, Serialize)]
struct Answers {
    asked: u64,
    whole: u64,
    failed: u64,
    unfinished: u64,
    /// Requests a second that were due, in an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
    /// Whether they were due at random times.
    poisson: bool,
    /// Requests that were due while every connection was taken.
    held_back: u64,
}

#[derive(Debug, Serialize)]
struct Each {
    min: u64,
    p50: u64,
    p99: u64,
    max: u64,
    n: u64,
}

#[derive(Debug, Serialize)]
struct Stalls {
    limit_ns: u64,
    count: u64,
    streams: u64,
}

#[derive(Debug, Serialize)]
struct Goodput<'a> {
    slo: &'a str,
    good: u64,
    /// Of all that were asked for, from 0 to 1.
    share: Option<f64>,
    per_s: f64,
}

impl Each {
    fn of(counts: &Histogram<u64>) -> Option<Each> {
        let at = |quantile| counts.value_at_quantile(quantile);
        (!counts.is_empty()).then(|| Each {
            min: counts.min(),
            p50: at(0.5),
            p99: at(0.99),
            max: counts.max(),
            n: counts.len(),
        })
    }
}

impl<'a> Document<'a> {
    pub(super) fn of(
        args: &'a Args,
        outcome: &'a Outcome,
        seconds: f64,
        failed: &'a [String],
        self_check: &'a [Check],
    ) -> Document<'a> {
        let waits = &outcome.waits;
        Document {
            schema: 2,
            url: &args.url,
            connections: args.connections(),
            opened: outcome.opened,
            not_open_in_time: outcome.not_up,
            ended_early: outcome.early_closes,
            published: outcome.published,
            publish_failures: outcome.publish_failures,
            seconds,
            events: outcome.delivered,
            events_per_s: outcome.delivered as f64 / seconds,
            bytes: outcome.received.bytes,
            reads: outcome.received.reads,
            answers: outcome.asks.then(|| Answers {
                asked: waits.ends.asked(),
                whole: waits.ends.completed(),
                failed: waits.ends.failed(),
                unfinished: waits.ends.open,
                rate_per_s: args.rate,
                poisson: args.poisson,
                held_back: outcome.held_back,
            }),
            ends: waits.ends,
            refusals: &waits.refusals,
            latency: Distribution::of(&outcome.latency_ns),
            connect_time: Distribution::of(&outcome.connect_ns),
            time_to_headers: Distribution::of(&outcome.headers_ns),
            time_to_first_byte: Distribution::of(&outcome.first_byte_ns),
            time_to_first_event: Distribution::of(&outcome.first_event_ns),
            time_to_second_event: Distribution::of(&waits.second_event_ns),
            gap: Distribution::of(&waits.gap_ns),
            events_together: waits.together,
            mean_gap: Distribution::of(&waits.mean_gap_ns),
            duration: Distribution::of(&waits.duration_ns),
            events_each: Each::of(&waits.events),
            streams_without_events: waits.without_events,
            stalls: args.stall.map(|limit| Stalls {
                limit_ns: limit.as_nanos() as u64,
                count: waits.stalls,
                streams: waits.stalled_streams,
            }),
            goodput: args.slo.as_ref().map(|slo| Goodput {
                slo: slo.text(),
                good: waits.good,
                share: waits.good_share(),
                per_s: waits.good as f64 / seconds,
            }),
            slowest: waits.slowest,
            timeline: &outcome.timeline,
            first_failure: outcome.first_failure.as_deref(),
            failed_conditions: failed,
            waited_for_a_core_ns: outcome.waited_for_a_core_ns,
            self_check,
        }
    }
}
