//! The deadline of a connection and the limit on their number.
//!
//! actix limits the time for the head of a connection's first request and the time between two
//! requests, and nothing else; its `HttpServer::on_connect` shows each socket once.

use std::any::Any;
use std::cell::Cell;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use actix_web::rt::time::{Instant, sleep_until};
use feed::listen::{Connection, Pending};
use feed::settings::Settings;
use socket2::SockRef;

/// All connections of the server.
#[derive(Clone)]
pub struct Connections {
    pending: Arc<Pending>,
    timeout: Duration,
}

impl Connections {
    pub fn new(settings: &Settings) -> Connections {
        Connections { pending: Pending::new(settings), timeout: settings.request_timeout() }
    }

    /// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect).
    pub fn watch(&self) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
        let connections = self.clone();
        move |io, data| connections.opened(io, data)
    }

    /// On the thread of the connection's worker.
    fn opened(&self, io: &dyn Any, data: &mut Extensions) {
        let socket: &TcpStream = io.downcast_ref().expect("no encryption is used");
        let connection = Connection::new(&self.pending, self.timeout);
        let deadline = match socket.as_fd().try_clone_to_owned() {
            Ok(own) => Some(actix_web::rt::spawn(cut_when_due(connection.clone(), own))),
            // No descriptor is left. Without one the connection could not be cut later.
            Err(_) => {
                cut(socket);
                None
            }
        };
        data.insert(Rc::new(Client { connection, deadline, closing: Cell::new(false) }));
    }

    /// Stops accepting at the limit, and goes on when there is room.
    pub async fn limit(self, server: ServerHandle) {
        loop {
            self.pending.until(false).await;
            server.pause().await;
            self.pending.until(true).await;
            server.resume().await;
        }
    }
}

/// The connection of a request.
pub struct Client {
    /// To report streams and answers to.
    pub connection: Connection,
    deadline: Option<JoinHandle<()>>,
    closing: Cell<bool>,
}

impl Client {
    /// This answer is the last one.
    pub fn close(&self) {
        self.closing.set(true);
    }

    /// True after the last answer.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Gives the second descriptor back. A connection that ends with its stream needs no deadline.
    pub fn stop_deadline(&self) {
        self.deadline.as_ref().inspect(|task| task.abort());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Or else the socket would stay open until the deadline.
        self.stop_deadline();
    }
}

/// Waits until the connection is due, with a second descriptor: actix keeps the first one.
async fn cut_when_due(connection: Connection, socket: OwnedFd) {
    while let Some(due) = connection.due() {
        if due <= Instant::now() {
            return cut(&socket);
        }
        sleep_until(due).await;
    }
}

/// For actix the client has left then.
fn cut(socket: &impl AsFd) {
    // It fails if the client has left in fact.
    let _ = SockRef::from(socket).shutdown(Shutdown::Both);
}
