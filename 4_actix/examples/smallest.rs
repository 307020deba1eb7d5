//! Server-Sent Events with actix-web on one screen, as actix-web-lab's documentation shows them.
//!
//! `cargo run -p sse-actix --example smallest -- 8004`, then `curl -N 127.0.0.1:8004/ticks`.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::{App, HttpServer, Responder, get};
use actix_web_lab::sse::{Data, Event, Sse};
use tokio_stream::{Stream, StreamExt};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let server =
        HttpServer::new(|| App::new().service(answer)).bind(format!("127.0.0.1:{port}"))?;
    println!("listening on http://{}", server.addrs()[0]);
    server.run().await
}

#[get("/ticks")]
async fn answer() -> impl Responder {
    Sse::from_stream(ticks()).with_keep_alive(Duration::from_secs(15))
}

/// An event each second.
fn ticks() -> impl Stream<Item = Result<Event, Infallible>> {
    tokio_stream::iter(1_u64..)
        .map(|n| Ok(Event::Data(Data::new(format!("tick {n}")))))
        .throttle(Duration::from_secs(1))
}
