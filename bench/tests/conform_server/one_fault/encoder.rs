//! Events as lines, right or with one fault.

use serde_json::Value;

use crate::fault;

/// Characters that a field may not hold.
const LINE_ENDS: [char; 2] = ['\r', '\n'];

/// An item of a script, or any other event: `id`, `event`, `data`, `comment`, `retry`.
pub fn encode(item: &Value) -> Vec<u8> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    let mut out = String::new();
    if let Some(comment) = text("comment") {
        for line in lines_unless("S10.04", comment) {
            out += &format!(": {line}\n");
        }
    }
    if let Some(id) = text("id").filter(|id| !(fault("S4.12") && id.is_empty())) {
        let id = if fault("S10.05") { id.to_owned() } else { id.replace('\0', "") };
        out += &format!("id: {}\n", without_line_ends_unless("S10.02", &id));
    }
    let default = if fault("S4.01") { Some("update") } else { None };
    if let Some(event) = text("event").or(default) {
        let event = if fault("S4.09") {
            event.replace(|it: char| !it.is_ascii(), "?")
        } else {
            event.to_owned()
        };
        out += &format!("event: {}\n", without_line_ends_unless("S10.01", &event));
    }
    if let Some(retry) = item.get("retry").and_then(Value::as_u64) {
        let unit = if fault("S3.07") { "ms" } else { "" };
        out += &format!("retry: {retry}{unit}\n");
    }
    if let Some(data) = text("data") {
        let times = item.get("times").and_then(Value::as_u64).unwrap_or(1);
        let data = data.repeat(usize::try_from(times).unwrap_or(1));
        if fault("S4.06") && data.is_empty() {
            return Vec::new();
        }
        if fault("S4.06-block") && data.is_empty() {
            return (out + "\n").into_bytes();
        }
        for line in data_lines(&data) {
            let separator = if fault("S4.07") { ":" } else { ": " };
            let name = if fault("S4.08") && line.starts_with(':') { "" } else { "data" };
            out += &format!("{name}{separator}{line}\n");
        }
    }
    out.push('\n');
    out.into_bytes()
}

fn data_lines(data: &str) -> Vec<String> {
    let data =
        if fault("S4.03") { data.replace("\r\n", "\n\n") } else { data.replace("\r\n", "\n") };
    let keeps_cr = fault("S4.04") || fault("S10.03");
    let data = if keeps_cr { data } else { data.replace('\r', "\n") };
    if fault("S4.02-raw") {
        return vec![data];
    }
    let data = if fault("S4.09-lines") { data.replace(['\u{2028}', '\u{85}'], "\n") } else { data };
    let data = match () {
        () if fault("S4.05") => data.trim_end_matches('\n'),
        () if fault("S4.05-one") => data.strip_suffix('\n').unwrap_or(&data),
        () => &data,
    };
    let limit = match () {
        () if fault("S4.02") => 2,
        () if fault("S4.11") => 1000,
        () => usize::MAX,
    };
    let shaped = |line: &str| match () {
        () if fault("S4.10") => line.chars().take(512 * 1024).collect(),
        () if fault("S4.13") => line.trim_start().to_owned(),
        () => line.to_owned(),
    };
    data.split('\n').take(limit).map(shaped).collect()
}

fn lines_unless(id: &str, text: &str) -> Vec<String> {
    if fault(id) {
        return vec![text.to_owned()];
    }
    text.split(LINE_ENDS).map(str::to_owned).collect()
}

fn without_line_ends_unless(id: &str, text: &str) -> String {
    if fault(id) { text.to_owned() } else { text.replace(LINE_ENDS, "") }
}
