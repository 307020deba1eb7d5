//! LaunchDarkly's eventsource-client on its own HTTP transport, with its own retry policy unless the case sets a delay.

use std::time::Duration;

use adapter::{Case, Outcome};
use eventsource_client::{Client as _, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::{FutureExt as _, StreamExt as _};
use launchdarkly_sdk_transport::HyperTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let capabilities = ["R", "Cm", "Hd", "Bd", "To", "Id", "Ch"];
    adapter::run("eventsource-client", env!("CARGO_PKG_VERSION"), &capabilities, client).await;
}

async fn client(case: &Case) -> Outcome {
    let builder = match builder(case) {
        Ok(builder) => builder,
        Err(error) => {
            case.error(true, error);
            return Ok(());
        }
    };
    let mut transport = HyperTransport::builder();
    if let Some(read_timeout_ms) = case.options.read_timeout_ms {
        transport = transport.read_timeout(Duration::from_millis(read_timeout_ms));
    }
    let transport = transport.build_http().expect("the options are plain");
    let mut events = builder.build_with_transport(transport).stream();
    let mut next = events.next().await;
    while let Some(event) = next {
        match event {
            Ok(SSE::Connected(_)) => case.open(),
            Ok(SSE::Event(event)) => {
                case.event(
                    &event.event_type,
                    &event.data,
                    event.id.as_deref().unwrap_or_default(),
                )?;
            }
            Ok(SSE::Comment(text)) => case.comment(&text),
            Err(error) => {
                // It was the last if the stream is at its end already.
                let following = events.next().now_or_never();
                case.error(matches!(following, Some(None)), error);
                if let Some(following) = following {
                    next = following;
                    continue;
                }
            }
        }
        next = events.next().await;
    }
    Ok(())
}

fn builder(case: &Case) -> Result<ClientBuilder, Error> {
    let options = &case.options;
    let mut builder = ClientBuilder::for_url(&case.url)?;
    for (name, value) in &options.headers {
        builder = builder.header(name, value)?;
    }
    if let Some(id) = &options.last_event_id {
        builder = builder.last_event_id(id.clone());
    }
    if let Some(method) = &options.method {
        builder = builder.method(method.clone());
    }
    if let Some(body) = &options.body {
        builder = builder.body(body.clone());
    }
    if let Some(initial_delay_ms) = options.initial_delay_ms {
        let delay = Duration::from_millis(initial_delay_ms);
        builder = builder.reconnect(ReconnectOptions::reconnect(true).delay(delay).build());
    }
    Ok(builder)
}
