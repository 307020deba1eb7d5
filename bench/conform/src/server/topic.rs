//! A topic of the contract: publish, subscribe, resume.

use wire::{Connection, EventStream};

use super::{Fault, Target};
use crate::expect::miss;

/// A topic that no other case and no earlier run has used.
#[derive(Debug)]
pub(super) struct Topic<'t> {
    target: &'t Target,
    path: String,
}

/// Publishes on one connection, as long as the server keeps it.
#[derive(Debug)]
pub(super) struct Publisher<'t> {
    topic: &'t Topic<'t>,
    connection: Option<Connection>,
}

impl<'t> Topic<'t> {
    pub(super) fn new(target: &'t Target, name: &str) -> Topic<'t> {
        Topic { target, path: format!("/messages/{name}-{:012x}", fastrand::u64(..1 << 48)) }
    }

    /// The target of its stream.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Subscribes; after the head has arrived no message may be lost.
    pub(super) fn subscribe(&self, last_event_id: Option<&str>) -> wire::Result<EventStream> {
        let request = self.target.get(&self.path);
        self.target.open(&match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        })
    }

    /// Subscribes as a client that will not read, and whose system holds little for it.
    pub(super) fn subscribe_unread(&self) -> wire::Result<EventStream> {
        EventStream::open(self.target.connect_narrow()?, &self.target.get(&self.path))
    }

    pub(super) fn publisher(&'t self) -> wire::Result<Publisher<'t>> {
        Ok(Publisher { topic: self, connection: Some(self.target.connect()?) })
    }

    /// Publishes all, in order; their ids.
    pub(super) fn publish<S: AsRef<str>>(
        &self,
        messages: impl IntoIterator<Item = S>,
    ) -> Result<Vec<String>, Fault> {
        let mut publisher = self.publisher()?;
        messages.into_iter().map(|message| publisher.publish(message.as_ref())).collect()
    }
}

impl Publisher<'_> {
    /// Publishes one message; its id, as the answer names it.
    pub(super) fn publish(&mut self, message: &str) -> Result<String, Fault> {
        let request = self.topic.target.request("POST", &self.topic.path).body(message);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.topic.target.connect()?,
        };
        let (head, mut body) = connection.ask(&request)?;
        let answer = connection.read_body_to_end(&mut body)?;
        // nginx ends a connection after a thousand requests, and says so.
        self.connection = Some(connection).filter(|_| !head.ends_connection());
        let answer: Option<serde_json::Value> = serde_json::from_slice(&answer).ok();
        let id = answer.as_ref().and_then(|answer| answer.get("id")?.as_str());
        match id {
            Some(id) if head.status == 201 => Ok(id.to_owned()),
            _ => Err(miss(
                r#"201 and {"id":…} for a POST to a topic"#,
                format!("POST {} answered {}", self.topic.path, head.summary()),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use wire::server::{Answer, serve};

    use super::*;

    #[test]
    fn a_publisher_goes_on_where_the_server_ends_the_connection_and_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        serve(listener, 64, |_| Answer {
            status: "201 Created",
            lines: "Connection: close\r\n".to_owned(),
            body: r#"{"id":"1"}"#.to_owned(),
        });
        let target = Target::url(&url, Duration::from_secs(5)).unwrap();
        let ids = Topic::new(&target, "closed").publish(["a", "b", "c"]).unwrap();
        assert_eq!(ids, ["1", "1", "1"]);
    }
}
