//! reqwest-eventsource, with its own retry policy unless the case sets a delay.

use std::time::Duration;

use adapter::{Case, Outcome};
use futures_util::StreamExt as _;
use reqwest::{Client, Method};
use reqwest_eventsource::retry::{DEFAULT_RETRY, ExponentialBackoff};
use reqwest_eventsource::{Event, EventSource};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let capabilities = ["R", "St", "Hd", "Bd", "To", "Ch"];
    adapter::run("reqwest-eventsource", env!("CARGO_PKG_VERSION"), &capabilities, client).await;
}

async fn client(case: &Case) -> Outcome {
    let options = &case.options;
    let mut client = Client::builder();
    if let Some(read_timeout_ms) = options.read_timeout_ms {
        client = client.read_timeout(Duration::from_millis(read_timeout_ms));
    }
    let client = client.build().expect("the options are plain");
    let method = options.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).expect("cases use methods that exist");
    let mut request = client.request(method, &case.url);
    for (name, value) in &options.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &options.body {
        request = request.body(body.clone());
    }
    let mut source = EventSource::new(request).expect("a body of text can be sent again");
    if let Some(initial_delay_ms) = options.initial_delay_ms {
        let start = Duration::from_millis(initial_delay_ms);
        source.set_retry_policy(Box::new(ExponentialBackoff { start, ..DEFAULT_RETRY }));
    }
    let mut state = source.ready_state();
    case.state(state as u8);
    while let Some(event) = source.next().await {
        if source.ready_state() != state {
            state = source.ready_state();
            case.state(state as u8);
        }
        match event {
            Ok(Event::Open) => case.open(),
            Ok(Event::Message(message)) => {
                case.event(&message.event, &message.data, &message.id)?
            }
            Err(error) => case.error(state == reqwest_eventsource::ReadyState::Closed, error),
        }
    }
    Ok(())
}
