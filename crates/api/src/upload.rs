//! The body of `POST /upload-asset`: `{"data_urls": ["data:image/png;base64,…", …]}`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::RequestError;
use crate::image_source::{ImageSource, SourceError};

/// The most pictures in one upload.
pub const MOST_UPLOADS: usize = 16;

/// The name of the one field.
const FIELD: &str = "data_urls";

/// What became of the list.
enum List {
    Pictures(Vec<Vec<u8>>),
    /// Not a list of texts.
    Other,
    Bad(String),
    TooMany,
}

/// Reads an upload: the files, each of which begins like a picture. Nothing else in the body is kept, and no more than
/// [`MOST_UPLOADS`] pictures.
///
/// # Errors
/// [`RequestError`], as for a transfer.
pub fn read_upload(body: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(RequestError::NotAnObject);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = deserializer.deserialize_any(Object).and_then(|read| deserializer.end().map(|()| read));
    let bad = |message: String| Err(RequestError::field(FIELD, message));
    match read.map_err(|error| not_json(&error))? {
        Some(List::Pictures(files)) if files.is_empty() => bad("must hold a picture at least".to_owned()),
        Some(List::Pictures(files)) => Ok(files),
        Some(List::Bad(message)) => bad(message),
        Some(List::TooMany) => bad(format!("must be at most {MOST_UPLOADS} pictures")),
        Some(List::Other) | None => bad("must be a list of data URIs".to_owned()),
    }
}

/// A JSON text that is no object is told apart from one that is no JSON.
fn not_json(error: &serde_json::Error) -> RequestError {
    if error.is_data() { RequestError::NotAnObject } else { RequestError::NotJson(error.to_string()) }
}

/// The whole body; `None` where there is no list.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Option<List>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(known) = map.next_key_seed(Name)? {
            if known {
                drop(found.take());
                found = Some(map.next_value_seed(Entries)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a field is the one.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == FIELD)
    }
}

/// The list.
struct Entries;

impl<'de> DeserializeSeed<'de> for Entries {
    type Value = List;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! no_list {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<List, E> {
            Ok(List::Other)
        })*
    };
}

impl<'de> Visitor<'de> for Entries {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List, A::Error> {
        let mut read = List::Pictures(Vec::new());
        while let List::Pictures(files) = &mut read {
            if files.len() == MOST_UPLOADS {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(read);
                }
                read = List::TooMany;
                break;
            }
            match list.next_element_seed(Entry)? {
                None => return Ok(read),
                Some(Some(Ok(ImageSource::Inline(file)))) => files.push(file),
                Some(Some(Ok(ImageSource::Url(_)))) => read = List::Bad("must be data URIs".to_owned()),
                Some(Some(Err(error))) => read = List::Bad(error.to_string()),
                Some(None) => read = List::Other,
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(read)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(List::Other)
    }

    fn visit_unit<E>(self) -> Result<List, E> {
        Ok(List::Other)
    }

    no_list!(visit_str: &str, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
}

/// One entry; `None` if it is no text.
struct Entry;

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Option<Result<ImageSource, SourceError>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! no_entry {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(None)
        })*
    };
}

impl<'de> Visitor<'de> for Entry {
    type Value = Option<Result<ImageSource, SourceError>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a data URI")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(ImageSource::from_text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    no_entry!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/9j/` is the beginning of a JPEG in base64, and the shortest picture there is.
    #[test]
    fn at_most_sixteen_however_small() {
        let body =
            |count: usize| format!("{{\"x\":[1],\"data_urls\":[{}]}}", vec!["\"/9j/\""; count].join(","));
        assert_eq!(read_upload(body(16).as_bytes()).unwrap(), vec![b"\xff\xd8\xff".to_vec(); 16]);
        for count in [17, 1_000_000] {
            let refused = read_upload(body(count).as_bytes()).unwrap_err().to_string();
            assert_eq!(refused, "data_urls: must be at most 16 pictures");
        }
        assert!(read_upload(body(0).as_bytes()).is_err());
    }

    #[test]
    fn what_is_refused() {
        let refused = |body: &str| read_upload(body.as_bytes()).unwrap_err().to_string();
        for body in [
            r#"{"files":[]}"#,
            r#"{"data_urls":"/9j/"}"#,
            r#"{"data_urls":[5]}"#,
            r#"{"data_urls":[[]]}"#,
            "{}",
        ] {
            assert_eq!(refused(body), "data_urls: must be a list of data URIs", "{body}");
        }
        assert_eq!(refused(r#"{"data_urls":["/9j/","http://h/x"]}"#), "data_urls: must be data URIs");
        assert_eq!(refused(r#"{"data_urls":["AAAA", {"a": 1}]}"#), "data_urls: not a readable image");
        assert_eq!(refused(r#"{"data_urls":[""]}"#), "data_urls: field is required");
        for body in ["", "[]", "5", "\"x\""] {
            assert_eq!(refused(body), "Request body must be a JSON object", "{body}");
        }
        assert!(refused("{\"data_urls\":[").starts_with("Request body is not valid JSON"));
        let last = read_upload(br#"{"data_urls":["http://h/x"],"data_urls":["/9j/"]}"#);
        assert_eq!(last.unwrap().len(), 1, "the last one counts");
    }
}
