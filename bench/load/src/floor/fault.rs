//! Lies that the floor tells on request.

use std::thread;
use std::time::{Duration, Instant};

use clap::Parser as _;

use crate::timer::MILLISECOND_NS;

/// Known faults, for the harness's check of itself. 0 = none.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Faults {
    /// Never send the events whose number is a multiple of this
    // From the environment too, so that a test can have every floor of a run lie beyond the truth.
    #[arg(long = "fault-drop-each", env = "FLOOR_FAULT_DROP_EACH", default_value_t = 0)]
    pub drop_each: u64,
    /// Send twice the events whose number is a multiple of this
    #[arg(long = "fault-duplicate-each", default_value_t = 0)]
    pub duplicate_each: u64,
    /// Send after their successor the events whose number is a multiple of this
    #[arg(long = "fault-swap-each", default_value_t = 0)]
    pub swap_each: u64,
    /// Send every event this much later, microseconds
    #[arg(long = "fault-delay-us", default_value_t = 0)]
    pub delay_us: u64,
    /// Delay only messages whose number is a multiple of this, and those exactly, by spinning
    #[arg(long = "fault-delay-each", default_value_t = 0)]
    pub delay_each: u64,
    /// Do nothing at all, once, before this tick of a stream, for as long as `--fault-stall-ms` says
    #[arg(long = "fault-stall-at", default_value_t = 0)]
    pub stall_at: u64,
    /// How long to do nothing, milliseconds
    #[arg(long = "fault-stall-ms", default_value_t = 0)]
    pub stall_ms: u64,
    /// Answer a request for ticks this much later, milliseconds
    #[arg(long = "fault-head-ms", default_value_t = 0)]
    pub head_ms: u64,
    /// Send the first tick this much later than the head, milliseconds
    #[arg(long = "fault-first-ms", default_value_t = 0)]
    pub first_ms: u64,
    /// Be silent for `--fault-gap-ms` before each tick whose number is a multiple of this
    #[arg(long = "fault-gap-each", default_value_t = 0)]
    pub gap_each: u64,
    /// How long to be silent, milliseconds
    #[arg(long = "fault-gap-ms", default_value_t = 0)]
    pub gap_ms: u64,
    /// Cut the streams of ticks whose number is a multiple of this, within their second event
    #[arg(long = "fault-cut-each", default_value_t = 0)]
    pub cut_each: u64,
    /// Answer 503 to the requests for ticks whose number is a multiple of this
    #[arg(long = "fault-refuse-each", default_value_t = 0)]
    pub refuse_each: u64,
    /// Say that a tick was due when it is sent: what a server says that stamps late
    #[arg(long = "fault-restamp")]
    pub restamp: bool,
}

/// Whether number `n` is one of every so many; 0 = none is.
fn hits(each: u64, n: u64) -> bool {
    each != 0 && n.is_multiple_of(each)
}

impl Faults {
    /// None but those that the environment names.
    pub fn of_environment() -> Faults {
        #[derive(clap::Parser)]
        struct Told {
            #[command(flatten)]
            faults: Faults,
        }
        Told::parse_from(["floor"]).faults
    }

    /// From the request to the head.
    pub(super) fn head_ns(self) -> u64 {
        self.head_ms * MILLISECOND_NS
    }

    /// From the head to the first tick.
    pub(super) fn first_ns(self) -> u64 {
        self.first_ms * MILLISECOND_NS
    }

    /// The silence before tick `n`, if there is one.
    pub(super) fn gap_ns(self, n: u64) -> Option<u64> {
        hits(self.gap_each, n).then_some(self.gap_ms * MILLISECOND_NS)
    }

    /// Whether this stream of ticks is cut within its second event.
    pub(super) fn cuts(self, stream: u64) -> bool {
        hits(self.cut_each, stream)
    }

    /// Whether this request for ticks is refused.
    pub(super) fn refuses(self, stream: u64) -> bool {
        hits(self.refuse_each, stream)
    }

    /// Appends to `out` the bytes to send now that event `n` is due.
    pub(super) fn apply(self, n: u64, frame: &[u8], held: &mut Vec<u8>, out: &mut Vec<u8>) {
        if hits(self.drop_each, n) {
            return;
        }
        if hits(self.swap_each, n) {
            held.extend_from_slice(frame);
            return;
        }
        out.extend_from_slice(frame);
        if hits(self.duplicate_each, n) {
            out.extend_from_slice(frame);
        }
        out.append(held);
    }

    /// How much later every event is sent.
    pub(super) fn delay_ns(self) -> u64 {
        if self.delay_each == 0 { self.delay_us * 1000 } else { 0 }
    }

    /// Whether the floor never sleeps. Of two messages at equal distances, one late, the late one is
    /// followed by the shorter sleep, and a virtual core wakes from a longer one tens of µs later:
    /// that would count as delay, with either sign.
    pub(super) fn stays_awake(self) -> bool {
        self.delay_each != 0
    }

    /// Waits before message `n` if it is one of those to be late, exactly and without sleeping.
    pub(super) fn spin(self, n: u64) {
        if hits(self.delay_each, n) {
            let until = Instant::now() + Duration::from_micros(self.delay_us);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }

    /// Whether tick `n` is the one before which nothing is done.
    pub(super) fn stalls_at(self, n: u64) -> bool {
        self.stall_at != 0 && n == self.stall_at
    }

    /// Does nothing at all.
    pub(super) fn stall(self) {
        thread::sleep(Duration::from_millis(self.stall_ms));
    }
}
