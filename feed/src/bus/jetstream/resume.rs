//! A reader that cannot begin in the ring: its last event is older, or this node is not up to date
//! yet, or the id is not one of ours. A task brings it to the ring, event by event from the stream.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_nats::jetstream::stream::RawMessageErrorKind;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::session::{SETTLING, SETTLING_LOOKS};
use super::{Link, Node, event, number_of, subject};
use crate::clock::{self, Now};
use crate::event::Gap;
use crate::source::{Source, SourcePoll};
use crate::topic::{Subscription, Topic};
use crate::wire::Encoded;

/// Readers that read from the stream at once. The others wait: after the start of a node all come at
/// once, and the broker has other work too.
pub(super) const AT_ONCE: usize = 32;

/// Events that lie between the stream and one such reader: a slow one holds the task up, and memory
/// does not grow.
const AHEAD: usize = 8;

pub(super) enum Step {
    Event(Arc<Encoded>),
    Gap(Gap),
    /// All older ones were given out; this goes on.
    Joined(Subscription),
}

/// A stream of a topic until it has come to the ring, and then in the ring.
pub(super) enum Resumed {
    Behind { steps: mpsc::Receiver<Step>, bell: Arc<Bell> },
    Joined(Subscription),
}

/// The waker of a reader, and whether it sleeps.
#[derive(Default)]
pub(super) struct Bell {
    asleep: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn waker(&self) -> Option<Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        if self.asleep.swap(false, SeqCst)
            && let Some(waker) = self.waker()
        {
            waker.wake();
        }
    }
}

impl Source for Resumed {
    fn poll(&mut self, now: Now) -> SourcePoll {
        let (steps, bell) = match self {
            Resumed::Behind { steps, bell } => (steps, bell),
            Resumed::Joined(subscription) => return subscription.poll(now),
        };
        let waker = Waker::from(Arc::clone(bell));
        match steps.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Pending => SourcePoll::Wait(None),
            Poll::Ready(Some(Step::Event(event))) => SourcePoll::Shared(event),
            Poll::Ready(Some(Step::Gap(gap))) => SourcePoll::Gap(gap),
            Poll::Ready(Some(Step::Joined(mut subscription))) => {
                if let Some(waker) = bell.waker() {
                    subscription.set_waker(&waker);
                }
                let step = subscription.poll(now);
                *self = Resumed::Joined(subscription);
                step
            }
            // The task could not go on; the client comes back with its last id.
            Poll::Ready(None) => SourcePoll::End,
        }
    }

    fn set_waker(&mut self, waker: &Waker) {
        match self {
            Resumed::Behind { bell, .. } => {
                let mut place = bell.waker.lock().unwrap_or_else(PoisonError::into_inner);
                *place = Some(waker.clone());
            }
            Resumed::Joined(subscription) => subscription.set_waker(waker),
        }
    }

    fn sleep(&mut self) {
        match self {
            Resumed::Behind { bell, .. } => bell.asleep.store(true, SeqCst),
            Resumed::Joined(subscription) => subscription.sleep(),
        }
    }

    fn is_asleep(&self) -> bool {
        match self {
            Resumed::Behind { bell, .. } => bell.asleep.load(SeqCst),
            Resumed::Joined(subscription) => subscription.is_asleep(),
        }
    }
}

/// A reader of this topic, and the task that brings it to the ring.
pub(super) fn start(
    runtime: &Handle,
    node: &Arc<Node>,
    topic: &str,
    last_event_id: Option<&str>,
) -> Resumed {
    let (sender, steps) = mpsc::channel(AHEAD);
    let (node, topic) = (Arc::clone(node), topic.to_owned());
    let last_event_id = last_event_id.map(ToOwned::to_owned);
    runtime.spawn(async move {
        let task = Task { node: &node, topic: &topic, sender: &sender };
        tokio::select! {
            // The client has left.
            () = sender.closed() => {}
            _ = task.run(last_event_id) => {}
        }
    });
    Resumed::Behind { steps, bell: Arc::default() }
}

struct Task<'a> {
    node: &'a Node,
    topic: &'a str,
    sender: &'a mpsc::Sender<Step>,
}

/// Why a task reads no further.
enum Stop {
    /// The way to the stream is gone: again, when there is another.
    Away,
    /// The reader has left, or there is no room for the topic.
    End,
}

impl Task<'_> {
    async fn run(&self, last_event_id: Option<String>) -> Result<(), Stop> {
        let Some(mut last_event_id) = last_event_id else {
            // It came before this node had seen the stream: from when on, no one can say.
            self.link().await?;
            self.send(Step::Gap(Gap::Possible)).await?;
            let live = self.node.rings.subscribe(self.topic, None, clock::now().monotonic);
            return self.send(Step::Joined(live.map_err(|_| Stop::End)?)).await;
        };
        loop {
            let link = self.link().await?;
            match self.bring(&link, &mut last_event_id).await {
                Err(Stop::Away) => sleep(super::NO_LEADER).await,
                other => return other,
            }
        }
    }

    /// Waits for a way to the stream.
    async fn link(&self) -> Result<Link, Stop> {
        let mut links = self.node.link.subscribe();
        let link = links.wait_for(Option::is_some).await.map_err(|_| Stop::End)?;
        link.clone().ok_or(Stop::Away)
    }

    /// Gives out what is older than the ring, and then the ring. `last` follows, so that another
    /// attempt goes on from there.
    async fn bring(&self, link: &Link, last: &mut String) -> Result<(), Stop> {
        let mut after = match number_of(last, &link.epoch) {
            Some(number) if self.is_here(link, number).await? => number,
            _ => {
                self.send(Step::Gap(Gap::Reset)).await?;
                *last = format!("{}-0", link.epoch);
                0
            }
        };
        let Ok(_place) = self.node.resuming.acquire().await else { return Err(Stop::End) };
        self.node.counts.resumed.fetch_add(1, Relaxed);
        let mut checked = after == 0;
        loop {
            // The stream may be ahead of the rings, which would give the same events again.
            self.reached(link, after).await?;
            // As long as it is owned here, the topic stays.
            let _topic = match self.join(link, after)? {
                Ok(subscription) => return self.send(Step::Joined(subscription)).await,
                Err(topic) => topic,
            };
            let newest = self.node.rings.newest();
            let next = self.first(link, after + 1).await?;
            // Other topics have numbers too. But a slow reader may also be overtaken, at each step, by the
            // removal of the oldest.
            let until = next.as_ref().map_or(newest, |(number, _)| number - 1);
            let has_hole = after > 0 && until > after;
            if !std::mem::replace(&mut checked, true) || has_hole {
                // The oldest go first. So if there is one that is not newer than the last one that
                // was seen, none since then is gone; and else it is not known. It is asked for behind
                // the next one, so that none goes between the two questions.
                let oldest = self.first(link, 1).await?;
                if oldest.is_none_or(|(number, _)| number > after) {
                    self.send(Step::Gap(Gap::Possible)).await?;
                }
            }
            match next {
                Some((number, event)) => {
                    self.send(Step::Event(event)).await?;
                    after = number;
                    *last = format!("{}-{after}", link.epoch);
                }
                // There is none up to the newest of that moment, unless a leader answers that has
                // just been elected and lacks the end of the stream.
                None if self.last(link).await? < newest => return Err(Stop::Away),
                None => after = after.max(newest),
            }
        }
    }

    /// Waits until the rings have all events up to this one.
    async fn reached(&self, link: &Link, number: u64) -> Result<(), Stop> {
        let (mut links, mut newest) = (self.node.link.subscribe(), self.node.newest.subscribe());
        if links.borrow_and_update().as_ref().is_none_or(|now| now.epoch != link.epoch) {
            return Err(Stop::Away);
        }
        tokio::select! {
            _ = newest.wait_for(|newest| *newest >= number) => Ok(()),
            _ = links.changed() => Err(Stop::Away),
        }
    }

    /// A place in the ring, unless that is of another stream by now.
    fn join(&self, link: &Link, after: u64) -> Result<Result<Subscription, Arc<Topic>>, Stop> {
        let epoch = self.node.epoch();
        if epoch.as_ref() != Some(&link.epoch) {
            return Err(Stop::Away);
        }
        let now = clock::now().monotonic;
        self.node.rings.join(self.topic, after, now).map_err(|_| Stop::End)
    }

    /// False for a number that the stream has not given yet. One broker knows that; of several one that
    /// has just become the leader may lack the newest for a moment, and they are not lost.
    async fn is_here(&self, link: &Link, number: u64) -> Result<bool, Stop> {
        let is_alone = self.node.plan.stream.num_replicas <= 1;
        let looks = if is_alone { 1 } else { SETTLING_LOOKS };
        for look in 0..looks {
            if look > 0 {
                // Without a place: a reader with an id of the future holds up no other.
                sleep(SETTLING).await;
            }
            if number <= self.node.rings.newest() {
                return Ok(true);
            }
            let Ok(_place) = self.node.resuming.acquire().await else { return Err(Stop::End) };
            if number <= self.last(link).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last number that the stream has given, as its leader knows.
    async fn last(&self, link: &Link) -> Result<u64, Stop> {
        let info = link.stream.get_info().await.map_err(|_| Stop::Away)?;
        Ok(info.state.last_sequence)
    }

    /// The first message of the topic from this number on. The leader is asked: a replica may not
    /// have yet what this node has seen.
    async fn first(&self, link: &Link, from: u64) -> Result<Option<(u64, Arc<Encoded>)>, Stop> {
        let subject = subject(&self.node.plan.name, self.topic);
        match link.stream.get_first_raw_message_by_subject(subject, from).await {
            Ok(message) => {
                let event = event(&link.epoch, message.sequence, &message.payload);
                Ok(Some((message.sequence, Arc::new(event.into()))))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(_) => Err(Stop::Away),
        }
    }

    async fn send(&self, step: Step) -> Result<(), Stop> {
        self.sender.send(step).await.map_err(|_| Stop::End)
    }
}
