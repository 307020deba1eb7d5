//! Server-Sent Events with poem on one screen, as its documentation shows them.
//!
//! `cargo run -p sse-poem --example smallest -- 8006`, then `curl -N 127.0.0.1:8006/ticks`.

use std::time::Duration;

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::sse::{Event, SSE};
use poem::{Route, Server, get, handler};
use tokio_stream::{Stream, StreamExt};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let acceptor = TcpListener::bind(format!("127.0.0.1:{port}")).into_acceptor().await?;
    let address = acceptor.local_addr()[0].as_socket_addr().copied().expect("a TCP address");
    println!("listening on http://{address}");
    Server::new_with_acceptor(acceptor).run(Route::new().at("/ticks", get(answer))).await
}

#[handler]
fn answer() -> SSE {
    SSE::new(ticks()).keep_alive(Duration::from_secs(15))
}

/// An event each second.
fn ticks() -> impl Stream<Item = Event> {
    tokio_stream::iter(1_u64..)
        .map(|n| Event::message(format!("tick {n}")))
        .throttle(Duration::from_secs(1))
}
