//! That nothing is kept but what is known, whatever else a body holds.

use super::*;

const KNOWN: Known<'static> =
    Known { plain: &["steps", "prompt"], pictures: &["subject_image"], lists: &["masks"], longest_text: 64 };

fn read(body: &str) -> Option<Fields<'_>> {
    KNOWN.read(body.as_bytes()).unwrap()
}

#[test]
fn known_fields_only_and_the_last_of_each() {
    let mut fields = read(
        r#"{"x": [{"":0},{"":0}], "steps": "six", "prompt": "a\nb", "steps": 6, "subject_image": "data:,x", "y": {}}"#,
    )
    .unwrap();
    assert_eq!((fields.0.len(), fields.strays()), (3, &["x".to_owned(), "y".to_owned()][..]));
    assert_eq!(fields.remove("steps"), Some(Given::Number(6.into())));
    assert_eq!(fields.remove("prompt").unwrap().as_str(), Some("a\nb"));
    assert_eq!(fields.remove("subject_image"), Some(Given::Picture(Err(SourceError::Unreadable))));
    assert_eq!(fields.remove("x"), None);
}

#[test]
fn texts_that_no_field_allows_and_nested_values_are_not_kept() {
    let long = format!(r#"{{"prompt": "{}", "steps": [[[1]]]}}"#, "x".repeat(65));
    let mut fields = read(&long).unwrap();
    assert_eq!(fields.remove("prompt"), Some(Given::Endless));
    assert_eq!(fields.remove("steps"), Some(Given::Nested));
    let escaped = format!(r#"{{"prompt": "{}"}}"#, "\\n".repeat(65));
    assert_eq!(read(&escaped).unwrap().remove("prompt"), Some(Given::Endless));
}

/// An object in a list costs a parser that builds values about a hundred times its bytes. Ten million of them.
#[test]
fn skipping_costs_neither_memory_nor_stack() {
    let wide = format!(r#"{{"x":[{}{{}}],"steps":1}}"#, r#"{"":0},"#.repeat(2_000_000));
    assert_eq!(read(&wide).unwrap().remove("steps"), Some(Given::Number(1.into())));
    let deep = format!(r#"{{"x":{}{},"steps":1}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(read(&deep).unwrap().remove("steps"), Some(Given::Number(1.into())));
    let names =
        format!("{{{}\"steps\":1}}", (0..200_000).map(|n| format!("\"f{n}\":0,")).collect::<String>());
    let fields = read(&names).unwrap();
    assert_eq!((fields.0.len(), fields.strays().len()), (1, MOST_STRAYS));
}

#[test]
fn json_that_is_no_object_and_text_that_is_no_json() {
    for body in ["[]", "[[1],2]", "\"x\"", "5", "-5", "5.5", "null", "true"] {
        assert!(read(body).is_none(), "{body}");
    }
    for body in ["{", "{\"steps\":}", "{} {}", "[1", "{\"x\":[1}", "nul", "{\"steps\":NaN}"] {
        assert!(KNOWN.read(body.as_bytes()).is_err(), "{body}");
    }
}
