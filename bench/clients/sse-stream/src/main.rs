//! The parser sse-stream behind a request by reqwest.
//!
//! The parser returns blocks as they stand. Dispatch and the last event id are left to its user, so
//! that part of the standard is here.

use adapter::{Case, Outcome};
use futures_util::StreamExt as _;
use sse_stream::SseByteStream;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    adapter::run("sse-stream", env!("CARGO_PKG_VERSION"), &["Ch"], client).await;
}

async fn client(case: &Case) -> Outcome {
    let response = case.response().await?;
    let mut blocks = Box::pin(SseByteStream::new(response.bytes_stream()));
    let mut last_event_id = String::new();
    while let Some(block) = blocks.next().await {
        match block {
            Ok(block) => {
                last_event_id = block.id.unwrap_or(last_event_id);
                let event = block.event.filter(|it| !it.is_empty());
                let event = event.as_deref().unwrap_or("message");
                if let Some(data) = block.data {
                    case.event(event, &data, &last_event_id)?;
                }
            }
            Err(error) => case.error(true, error),
        }
    }
    Ok(())
}
