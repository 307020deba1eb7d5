//! Server-Sent Events with warp on one screen, as its documentation shows them.
//!
//! `cargo run -p sse-warp --example smallest -- 8002`, then `curl -N 127.0.0.1:8002/ticks`.

use std::convert::Infallible;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};
use warp::Filter;
use warp::sse::Event;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let routes = warp::path!("ticks")
        .and(warp::get())
        .map(|| warp::sse::reply(warp::sse::keep_alive().stream(ticks())));
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}

/// An event each second.
fn ticks() -> impl Stream<Item = Result<Event, Infallible>> {
    tokio_stream::iter(1_u64..)
        .map(|n| Ok(Event::default().data(format!("tick {n}"))))
        .throttle(Duration::from_secs(1))
}
