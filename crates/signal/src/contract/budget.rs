//! Bound on the work that one payload costs. It is a count, so that a payload always gets the same
//! verdict.

/// Largest number of values in a payload that a schema checks. A mebibyte can hold half a million,
/// and each costs the JSON reader an allocation or a list element.
pub(super) const VALUES_MAX: usize = 16 * 1024;
/// Payloads of fewer bytes cannot exceed [`VALUES_MAX`]: each value but the first takes a byte, and
/// a separator before it.
const BYTES_MIN: usize = 2 * VALUES_MAX;

/// Reports whether a payload, valid JSON, has more than [`VALUES_MAX`] values. Objects, lists and
/// their members count. Reads each byte at most once.
pub(super) fn exceeds(payload: &str) -> bool {
    payload.len() > BYTES_MIN && count(payload) > VALUES_MAX
}

/// Counts the values of a text, valid JSON, up to one more than [`VALUES_MAX`].
fn count(json: &str) -> usize {
    // A value begins the text, follows a comma or opens its list or object. In an object the comma
    // precedes the name.
    let mut values = 1;
    let mut bytes = json.bytes();
    let mut is_open = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'}' | b']' => {}
            _ if is_open => values += 1,
            b',' => values += 1,
            _ => {}
        }
        if values > VALUES_MAX {
            break;
        }
        is_open = matches!(byte, b'{' | b'[');
        if byte == b'"' {
            skip_text(&mut bytes);
        }
    }
    values
}

/// Skips the rest of a text up to its closing quote.
fn skip_text(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn values(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(values).sum(),
            Value::Object(members) => members.values().map(values).sum(),
            _ => 0,
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[ a\"\\\\,{}\\[\\]:]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a\",{\\\\]{0,4}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn each_value_counts_once_however_it_is_written(value in json()) {
            prop_assert_eq!(count(&value.to_string()), values(&value));
            let spaced = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(count(&spaced), values(&value));
        }
    }

    #[test]
    fn the_bound_is_exact() {
        let list = |items: usize| format!("[{}]", vec!["1"; items].join(","));
        // The list itself is a value.
        assert!(!exceeds(&list(VALUES_MAX - 1)));
        assert!(exceeds(&list(VALUES_MAX)));
        let commas = format!("[\"{}\"]", ",".repeat(4 * VALUES_MAX));
        assert!(!exceeds(&commas));
    }
}
