//! Scripts for `GET /script`: the events of the harness's choice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The target that makes a server emit these items through its normal encoder.
///
/// An item has any of `id`, `event`, `data`, `comment` (strings), `retry` and `delay_ms` (numbers),
/// `times` (the data repeated), `repeat` (the event repeated); the last one may be
/// [`hold`].
pub fn target(items: &[Value]) -> String {
    let json = Value::from(items.to_vec()).to_string();
    format!("/script?events={}", URL_SAFE_NO_PAD.encode(json))
}

/// An event with data only.
pub fn data(data: &str) -> Value {
    json!({ "data": data })
}

/// The item that keeps the stream open.
pub fn hold() -> Value {
    json!({ "then": "hold" })
}
