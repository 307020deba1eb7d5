//! Server-Sent Events with axum on one screen, as its documentation shows them.
//!
//! `cargo run -p sse-axum --example smallest -- 8003`, then `curl -N 127.0.0.1:8003/ticks`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let routes = Router::new()
        .route("/ticks", get(async || Sse::new(ticks()).keep_alive(KeepAlive::default())));
    axum::serve(listener, routes).await
}

/// An event each second.
fn ticks() -> impl Stream<Item = Result<Event, Infallible>> {
    tokio_stream::iter(1_u64..)
        .map(|n| Ok(Event::default().data(format!("tick {n}"))))
        .throttle(Duration::from_secs(1))
}
