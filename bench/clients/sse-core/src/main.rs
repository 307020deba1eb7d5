//! The parser sse-core behind a request by reqwest.

use std::num::NonZeroUsize;

use adapter::{Case, Outcome};
use futures_util::StreamExt as _;
use sse_core::{SseDecoder, SseEvent, SseStream};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    adapter::run("sse-core", env!("CARGO_PKG_VERSION"), &["Lm", "Ch"], client).await;
}

async fn client(case: &Case) -> Outcome {
    let response = case.response().await?;
    let limit = case.options.max_event_bytes.and_then(NonZeroUsize::new);
    let mut events =
        SseStream::with_decoder(limit.map_or_else(SseDecoder::new, SseDecoder::with_limit));
    events.attach(response.bytes_stream());
    let mut events = Box::pin(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(SseEvent::Message(message)) => {
                let id = message.last_event_id.as_deref().unwrap_or_default();
                case.event(&message.event, &message.data, id)?;
            }
            Ok(SseEvent::Retry(_)) => {}
            Err(error) => {
                case.error(true, error);
                break;
            }
        }
    }
    Ok(())
}
