//! The coercion table, cell by cell, and properties of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn steps() -> Integer {
    Integer { default: 7, min: 1, max: 150, wording: Wording::Sides }
}

fn guidance() -> Number {
    Number { default: 2.0, min: 1.0, max: 10.0 }
}

fn flag() -> Flag {
    Flag { default: false }
}

fn text() -> Text {
    Text { default: "stone", max_length: 10 }
}

/// The value as a body would bring it.
fn brought(value: &Value) -> Option<Given<'static>> {
    Some(match value.clone() {
        Value::Null => Given::Null,
        Value::Bool(value) => Given::Bool(value),
        Value::Number(number) => Given::Number(number),
        Value::String(text) => Given::Text(text.into()),
        Value::Array(_) | Value::Object(_) => Given::Nested,
    })
}

/// Reads `given`, `None` for a refusal.
fn read<K: ParameterKind>(kind: &K, value: &Value) -> Option<K::Value> {
    kind.read(brought(value)).ok()
}

#[test]
fn the_table() {
    // JSON given, then what an integer, a number, a flag and a text field make of it.
    type Row = (Value, Option<u32>, Option<f64>, Option<bool>, Option<&'static str>);
    let rows: Vec<Row> = vec![
        (json!(6), Some(6), Some(6.0), None, None),
        (json!(1), Some(1), Some(1.0), Some(true), None),
        (json!(0), None, None, Some(false), None),
        (json!(6.0), Some(6), Some(6.0), None, None),
        (json!(1.0), Some(1), Some(1.0), None, None),
        (serde_json::from_str("6e0").unwrap(), Some(6), Some(6.0), None, None),
        (json!(6.5), None, Some(6.5), None, None),
        (json!("6"), Some(6), Some(6.0), None, Some("6")),
        (json!(" 6 "), Some(6), Some(6.0), None, Some(" 6 ")),
        (json!("1"), Some(1), Some(1.0), Some(true), Some("1")),
        (json!("0"), None, None, Some(false), Some("0")),
        (json!("6.0"), Some(6), Some(6.0), None, Some("6.0")),
        (json!("1.0"), Some(1), Some(1.0), None, Some("1.0")),
        (json!("six"), None, None, None, Some("six")),
        (json!(""), None, None, None, Some("")),
        (json!("inf"), None, None, None, Some("inf")),
        (json!("nan"), None, None, None, Some("nan")),
        (json!("0x6"), None, None, None, Some("0x6")),
        (json!(true), None, None, Some(true), None),
        (json!(false), None, None, Some(false), None),
        (json!("true"), None, None, Some(true), Some("true")),
        (json!("False"), None, None, Some(false), Some("False")),
        (json!(null), Some(7), Some(2.0), Some(false), Some("stone")),
        (json!([6]), None, None, None, None),
        (json!({"a": 1}), None, None, None, None),
    ];
    for (given, integer, number, boolean, string) in rows {
        assert_eq!(read(&steps(), &given), integer, "integer from {given}");
        assert_eq!(read(&guidance(), &given), number, "number from {given}");
        assert_eq!(read(&flag(), &given), boolean, "flag from {given}");
        assert_eq!(read(&text(), &given).as_deref(), string, "text from {given}");
    }
}

#[test]
fn integer_wordings() {
    let refusal = |kind: &Integer, value: Value| kind.read(brought(&value)).unwrap_err();
    assert_eq!(refusal(&steps(), json!("abc")), "must be an integer");
    assert_eq!(refusal(&steps(), json!(-1)), "must be at least 1");
    assert_eq!(refusal(&steps(), json!(151)), "must be at most 150");
    let quality = Integer { min: 0, max: 100, wording: Wording::Between, ..steps() };
    for bad in [json!(101), json!(-1), json!(80.5), json!("x")] {
        assert_eq!(refusal(&quality, bad), "must be between 0 and 100");
    }
    let width = Integer { min: 64, max: i32::MAX as u32, wording: Wording::Below, ..steps() };
    assert_eq!(refusal(&width, json!(63)), "must be at least 64");
    assert_eq!(refusal(&width, json!(1e30)), "must be an integer below 2147483648");
    assert_eq!(refusal(&width, json!("1e30")), "must be an integer below 2147483648");
    assert_eq!(width.read(brought(&json!(2_147_483_647u32))), Ok(2_147_483_647));
}

#[test]
fn seeds() {
    let seed = |value: Value| Seed.read(brought(&value));
    for random in [json!(null), json!(-1), json!("-1"), json!(-1.0)] {
        assert_eq!(seed(random), Ok(None));
    }
    assert_eq!(seed(json!(0)), Ok(Some(0)));
    assert_eq!(seed(json!(17_123_564_234u64)), Ok(Some(17_123_564_234)));
    assert_eq!(seed(json!("10000000000000000")), Ok(Some(10_000_000_000_000_000)));
    assert_eq!(seed(json!(u64::MAX)), Ok(Some(u64::MAX)));
    assert_eq!(seed(json!(u64::MAX.to_string())), Ok(Some(u64::MAX)));
    for bad in [json!(-2), json!(1.5), json!(true), json!("x"), json!("")] {
        assert_eq!(seed(bad), Err(NO_SEED.to_owned()));
    }
    assert!(seed(json!("18446744073709551616")).is_err());
}

#[test]
fn choices_are_exact() {
    let choice = Choice { of: &[("a", 1), ("b", 2)], default: "b" };
    assert_eq!(read(&choice, &json!("a")), Some(1));
    assert_eq!(read(&choice, &json!(null)), Some(2));
    for bad in [json!("A"), json!(""), json!(" a"), json!(1), json!(["a"])] {
        assert_eq!(choice.read(brought(&bad)), Err("must be one of a, b".to_owned()));
    }
}

#[test]
fn texts_are_measured_in_characters() {
    assert_eq!(read(&text(), &json!("ääääääääää")).as_deref(), Some("ääääääääää"));
    assert!(text().read(brought(&json!("12345678901"))).unwrap_err().starts_with("too long"));
}

proptest! {
    /// An integer is the same whether it comes as a number, with a zero fraction, or as a string of either.
    #[test]
    fn spellings_agree(value in 1u32..=150, pad in " {0,2}") {
        let spellings = [json!(value), json!(f64::from(value)), json!(format!("{pad}{value}{pad}")), json!(format!("{value}.0"))];
        for given in spellings {
            prop_assert_eq!(read(&steps(), &given), Some(value));
        }
    }

    /// Nothing out of range gets through, and nothing in range is changed.
    #[test]
    fn never_clamped(value in any::<i64>()) {
        let inside = u32::try_from(value).ok().filter(|v| (1..=150).contains(v));
        prop_assert_eq!(read(&steps(), &json!(value)), inside);
        prop_assert_eq!(read(&steps(), &json!(value.to_string())), inside);
    }

    /// The same for numbers.
    #[test]
    fn numbers_are_kept(value in -20.0f64..20.0) {
        let inside = (1.0..=10.0).contains(&value).then_some(value);
        prop_assert_eq!(read(&guidance(), &json!(value)), inside);
        prop_assert_eq!(read(&guidance(), &json!(value.to_string())), inside);
    }

    /// Every seed survives exactly, as a number and as a string.
    #[test]
    fn seeds_are_exact(value in any::<u64>()) {
        prop_assert_eq!(Seed.read(brought(&json!(value))), Ok(Some(value)));
        prop_assert_eq!(Seed.read(brought(&json!(value.to_string()))), Ok(Some(value)));
    }

    /// No string makes any kind panic, and a number never comes out infinite.
    #[test]
    fn any_string_is_answered(given in "\\PC{0,30}") {
        let value = json!(given);
        if let Some(number) = read(&guidance(), &value) {
            prop_assert!(number.is_finite());
        }
        let _ = (read(&steps(), &value), read(&flag(), &value), Seed.read(brought(&value)));
    }
}
