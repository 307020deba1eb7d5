//! Server-Sent Events with Rocket on one screen, as its documentation shows them.
//!
//! `cargo run -p sse-rocket --example smallest -- 8005`, then `curl -N 127.0.0.1:8005/ticks`.

use rocket::config::LogLevel;
use rocket::fairing::AdHoc;
use rocket::response::stream::{Event, EventStream};
use rocket::tokio::time::{Duration, interval};
use rocket::{Config, get, launch, routes};

#[launch]
fn rocket() -> _ {
    let port = std::env::args().nth(1).map_or(0, |port| port.parse().expect("a port"));
    rocket::custom(Config { port, log_level: LogLevel::Off, ..Config::default() })
        .mount("/", routes![ticks])
        .attach(AdHoc::on_liftoff("ready", |rocket| {
            println!("listening on http://127.0.0.1:{}", rocket.config().port);
            Box::pin(async {})
        }))
}

/// An event each second.
#[get("/ticks")]
fn ticks() -> EventStream![] {
    EventStream! {
        let mut second = interval(Duration::from_secs(1));
        for n in 1_u64.. {
            second.tick().await;
            yield Event::data(format!("tick {n}"));
        }
    }
}
