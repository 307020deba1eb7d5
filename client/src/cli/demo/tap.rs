//! The wire between client and server: a relay on loopback that shows the bytes and can be cut.
//!
//! Its address stays while the server behind it is restarted or changed for another one, so the
//! client reconnects to the same URL, as it would through a load balancer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::state::{Direction, Message, Saw};

/// Bytes taken from a socket at once: a piece of the log, which shows lines.
const READ_BYTES: usize = 8 << 10;

/// The address behind the relay, and a number that changes to cut the open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) server: Option<SocketAddr>,
    pub(super) cuts: u64,
}

/// Accepts connections until it is aborted.
pub(super) async fn relay(
    listener: TcpListener,
    route: watch::Receiver<Route>,
    lane: usize,
    messages: mpsc::Sender<Message>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (mut route, messages) = (route.clone(), messages.clone());
        tokio::spawn(async move {
            let Route { server: Some(server), .. } = *route.borrow_and_update() else { return };
            let Ok(server) = TcpStream::connect(server).await else { return };
            tokio::select! {
                _ = connect(client, server, lane, &messages) => {}
                _ = route.changed() => {}
            }
        });
    }
}

async fn connect(client: TcpStream, server: TcpStream, lane: usize, to: &mpsc::Sender<Message>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let request = copy(&mut client_in, &mut server_out, Direction::ToServer, lane, to);
    let response = copy(&mut server_in, &mut client_out, Direction::ToClient, lane, to);
    // Either end that goes takes the connection with it.
    tokio::select! {
        () = request => {}
        () = response => {}
    }
}

async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    into: &mut (impl AsyncWriteExt + Unpin),
    direction: Direction,
    lane: usize,
    to: &mpsc::Sender<Message>,
) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer[..count].to_vec();
        if to.send(Message::Saw(lane, Saw::Bytes(direction, bytes))).await.is_err()
            || into.write_all(&buffer[..count]).await.is_err()
        {
            break;
        }
    }
}
