//! Fields of an object that its type does not have: decoding drops them without a word.

use serde_json::Value;

/// Paths in `given` that `known`, the same object read and written again, does not have. What is null says nothing.
pub(crate) fn fields(given: &Value, known: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", given, known, &mut found);
    found
}

fn compare(path: &str, given: &Value, known: &Value, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(known) => compare(&path, value, known, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(&format!("{path}[{index}]"), given, known, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_type_does_not_have_is_named_by_its_path() {
        let given =
            json!({ "a": 1, "b": { "c": 1, "d": null }, "e": [{ "f": 1 }, { "g": 2, "h": 3 }], "i": 1 });
        let known = json!({ "a": 1, "b": {}, "e": [{ "f": 1 }, { "g": 2 }] });
        assert_eq!(fields(&given, &known), ["b.c", "e[1].h", "i"]);
        assert_eq!(fields(&known, &known), [""; 0]);
    }
}
