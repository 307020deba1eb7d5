//! The parts of a report that its schema does not allow.

use serde_json::Value;

/// The parts of `value` that the schema does not allow, each with its place.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).expect("the schema is one");
    validator.iter_errors(value).map(|it| format!("{}: {it}", it.instance_path())).collect()
}
