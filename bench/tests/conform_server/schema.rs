//! As much of JSON Schema as the report's schema uses; a keyword that is not known here is a fault.

use serde_json::Value;

/// The parts of `value` that the schema does not allow, each with its place.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let mut fault = |words: &str| faults.push(format!("{at}: {words}"));
    for (keyword, demand) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "properties" | "items" | "$ref" => {}
            "type" if !is_type(value, demand.as_str().unwrap()) => fault(&format!("no {demand}")),
            "const" if value != demand => fault(&format!("not {demand}")),
            "enum" if !demand.as_array().unwrap().contains(value) => fault("none of the words"),
            "minimum" if value.as_f64() < demand.as_f64() => fault("too small"),
            // The one pattern of the schema, without a crate for such.
            "pattern" if demand == "^[SC][0-9]+\\.[0-9][0-9]$" => {
                let id = value.as_str().unwrap_or_default();
                let parts = id.strip_prefix(['S', 'C']).and_then(|it| it.split_once('.'));
                let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
                if !parts.is_some_and(|(a, b)| digits(a) && digits(b) && b.len() == 2) {
                    fault("no id");
                }
            }
            "required" => {
                for name in demand.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() && value.is_object() {
                        fault(&format!("no {name}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                for name in value.as_object().into_iter().flat_map(|it| it.keys()) {
                    if !known.contains_key(name) {
                        fault(&format!("{name:?} is not known"));
                    }
                }
            }
            "type" | "const" | "enum" | "minimum" => {}
            other => panic!("the schema uses {other:?}, which is not checked"),
        }
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(name.trim_start_matches('#')).expect("a reference has a target");
        check(root, target, value, at, faults);
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            check(root, items, value, &format!("{at}/{index}"), faults);
        }
    }
    if let (Some(properties), Some(object)) = (schema.get("properties"), value.as_object()) {
        for (name, value) in object {
            if let Some(property) = properties.get(name) {
                check(root, property, value, &format!("{at}/{name}"), faults);
            }
        }
    }
}

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("type {other:?} is not checked"),
    }
}
