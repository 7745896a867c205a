//! What came in: the fields that the API knows and nothing else, from a JSON object or from the fields of a form.
//!
//! A body is a stranger's: it may hold millions of names, lists of lists, texts of megabytes. Here it is read in one pass
//! that keeps a place for each field known by name, skips everything else without building it, turns pictures into bytes
//! where they stand, and drops texts that are too long for any field. So what is kept is bounded by the pictures.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::image_source::{ImageSource, SourceError};

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given<'a> {
    /// JSON's `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any JSON number.
    Number(Number),
    /// A text.
    Text(Cow<'a, str>),
    /// A text of more than [`Known::longest_text`] bytes, which were dropped.
    Endless,
    /// A picture field's text, read already.
    Picture(Result<ImageSource, SourceError>),
    /// A list or an object; no parameter is one, so what is in it was skipped.
    Nested,
}

impl Given<'_> {
    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Which fields are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'k> {
    /// Names of fields that are read as they are.
    pub(crate) plain: &'k [&'static str],
    /// Names of fields that hold pictures.
    pub(crate) pictures: &'k [&'static str],
    /// The most bytes of a text that are kept; more than any field allows.
    pub(crate) longest_text: usize,
}

/// The known fields that were given, each with its last value.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(&'static str, Given<'a>)>);

impl<'a> Fields<'a> {
    /// Notes a field; a later value takes the place of an earlier one.
    pub(crate) fn put(&mut self, name: &'static str, value: Given<'a>) {
        self.remove(name);
        self.0.push((name, value));
    }

    /// Takes a field out if it is a text of nothing but blanks.
    pub(crate) fn drop_blank(&mut self, name: &str) {
        let blank = |given: &Given<'_>| given.as_str().is_some_and(|text| text.trim().is_empty());
        self.0.retain(|(each, given)| *each != name || !blank(given));
    }

    /// Takes a field out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Given<'a>> {
        let at = self.0.iter().position(|(each, _)| *each == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

impl Known<'_> {
    /// The field of that name, and whether it is a picture.
    pub(crate) fn find(&self, name: &str) -> Option<(&'static str, bool)> {
        let among = |names: &[&'static str]| names.iter().copied().find(|each| *each == name);
        among(self.pictures).map(|name| (name, true)).or_else(|| among(self.plain).map(|name| (name, false)))
    }

    /// Reads a JSON text. `Ok(None)`: JSON, but no object.
    pub(crate) fn read<'a>(&self, body: &'a [u8]) -> Result<Option<Fields<'a>>, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let read = deserializer.deserialize_any(Object(*self))?;
        deserializer.end()?;
        Ok(read)
    }

    /// A plain field's text.
    pub(crate) fn text<'a>(&self, text: impl Into<Cow<'a, str>> + AsRef<str>) -> Given<'a> {
        if text.as_ref().len() > self.longest_text { Given::Endless } else { Given::Text(text.into()) }
    }
}

/// The whole body.
struct Object<'k>(Known<'k>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Option<Fields<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Some((name, picture)) => {
                    fields.put(name, map.next_value_seed(Value { known: self.0, picture })?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The name of a field, if it is known.
struct Name<'k>(Known<'k>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<(&'static str, bool)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<(&'static str, bool)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.find(name))
    }
}

/// The value of a known field.
struct Value<'k> {
    known: Known<'k>,
    picture: bool,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Given<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Given<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        if self.picture {
            return Ok(Given::Picture(ImageSource::from_text(text)));
        }
        Ok(self.known.text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        if self.picture {
            return Ok(Given::Picture(ImageSource::from_text(text)));
        }
        Ok(match self.known.text(text) {
            Given::Text(text) => Given::Text(Cow::Owned(text.into_owned())),
            _ => Given::Endless,
        })
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Given::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Given::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Given::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Number::from_f64(number).map(Given::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Given::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Given::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Nested)
    }
}

#[cfg(test)]
mod tests;
