//! One event, in the standard's own terms.

use std::borrow::Cow;
use std::time::Duration;

/// An event, or a part of one, as a source makes it.
///
/// Every field is optional, because each means something by itself: a block with only a `retry`
/// sets the reconnection time, a lone `comment` keeps a connection alive, an `id` without data
/// moves the last event id. Only a block with `data` (it may be empty) is dispatched by a client.
///
/// Source: HTML Standard, [9.2.6 Interpreting an event
/// stream](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The last event id from here on; empty resets it. CR, LF and NUL are removed on the wire.
    pub id: Option<String>,
    /// The event type; `None` and empty both mean `message`. CR and LF are removed on the wire.
    pub event: Option<Cow<'static, str>>,
    /// The payload. CR and CRLF become LF on the wire; everything else arrives as it is.
    pub data: Option<String>,
    /// How long a client waits before it reconnects; whole milliseconds.
    pub retry: Option<Duration>,
    /// Text that clients ignore.
    pub comment: Option<String>,
}

impl Event {
    /// An event with this payload and no other field.
    pub fn data(data: impl Into<String>) -> Event {
        Event { data: Some(data.into()), ..Event::default() }
    }

    /// A comment. An empty one is the smallest thing that keeps a connection alive.
    pub fn comment(text: impl Into<String>) -> Event {
        Event { comment: Some(text.into()), ..Event::default() }
    }

    /// A block that only sets the reconnection time.
    pub fn retry(after: Duration) -> Event {
        Event { retry: Some(after), ..Event::default() }
    }

    /// The same event with this id.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "ids are numbers and texts, passed by value and by reference"
    )]
    pub fn with_id(mut self, id: impl ToString) -> Event {
        self.id = Some(id.to_string());
        self
    }

    /// The same event with this type.
    pub fn with_event(mut self, event: impl Into<Cow<'static, str>>) -> Event {
        self.event = Some(event.into());
        self
    }
}

/// `native` with this field set, if there is a value: for the builders of the frameworks' own event
/// types.
pub fn with<N, V>(native: N, value: Option<V>, set: impl FnOnce(N, V) -> N) -> N {
    match value {
        Some(value) => set(native, value),
        None => native,
    }
}

/// Events that a client asked for and that are gone.
///
/// Reported in the stream as `event: gap` without an id, because the standard leaves open what an
/// expired id means ([whatwg/html#8297](https://github.com/whatwg/html/issues/8297)), and without
/// it a client could not see the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The number of events between the last event id and the oldest retained event.
    Missed(u64),
    /// Events may be missing here; how many, if any, is not known.
    Possible,
    /// The id is not one of ours, or is of an earlier epoch of this stream: start afresh.
    Reset,
}

impl From<Gap> for Event {
    fn from(gap: Gap) -> Event {
        let data = match gap {
            Gap::Missed(missed) => format!("{{\"missed\":{missed}}}"),
            Gap::Possible => "{\"possible\":true}".to_owned(),
            Gap::Reset => "{\"reset\":true}".to_owned(),
        };
        Event::data(data).with_event("gap")
    }
}
