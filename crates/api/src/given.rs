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
use crate::pictures::MOST_REGIONS;

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
    /// A list of pictures, as far as it may reach and one beyond.
    Pictures(Vec<Result<ImageSource, SourceError>>),
    /// A list or an object where none is wanted; what is in it was skipped.
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
    /// Names of fields that hold a picture.
    pub(crate) pictures: &'k [&'static str],
    /// Names of fields that hold several.
    pub(crate) lists: &'k [&'static str],
    /// The most bytes of a text that are kept; more than any field allows.
    pub(crate) longest_text: usize,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Plain,
    Picture,
    Pictures,
}

/// How many names that are not known are kept, and how many characters of each.
const MOST_STRAYS: usize = 8;
const LONGEST_STRAY: usize = 64;

/// The known fields that were given, each with its last value; and the first names that are not known.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(&'static str, Given<'a>)>, Vec<String>);

impl<'a> Fields<'a> {
    /// Notes a name that is not known.
    pub(crate) fn stray(&mut self, name: &str) {
        let shortened = || name.chars().take(LONGEST_STRAY).collect::<String>();
        if self.1.len() < MOST_STRAYS && !self.1.contains(&shortened()) {
            self.1.push(shortened());
        }
    }

    /// The names that are not known, as far as they were noted.
    pub(crate) fn strays(&self) -> &[String] {
        &self.1
    }

    /// Notes a field; a later value takes the place of an earlier one.
    pub(crate) fn put(&mut self, name: &'static str, value: Given<'a>) {
        self.remove(name);
        self.0.push((name, value));
    }

    /// Adds a picture to a list's, as the parts of a form do; those beyond what may be are counted once and not kept.
    pub(crate) fn push(&mut self, name: &'static str, picture: Result<ImageSource, SourceError>) {
        match self.0.iter_mut().find(|(each, _)| *each == name) {
            Some((_, Given::Pictures(pictures))) if pictures.len() > MOST_REGIONS => {}
            Some((_, Given::Pictures(pictures))) => pictures.push(picture),
            _ => self.put(name, Given::Pictures(vec![picture])),
        }
    }

    /// Takes a field out if it is a text of nothing but blanks.
    pub(crate) fn drop_blank(&mut self, name: &str) {
        let blank = |given: &Given<'_>| given.as_str().is_some_and(|text| text.trim().is_empty());
        self.0.retain(|(each, given)| *each != name || !blank(given));
    }

    /// Is there a field of that name that is not empty?
    pub(crate) fn holds(&self, name: &str) -> bool {
        let empty = |given: &Given<'_>| match given {
            Given::Null => true,
            Given::Pictures(pictures) => pictures.iter().all(|each| *each == Err(SourceError::Missing)),
            _ => false,
        };
        self.0.iter().any(|(each, given)| *each == name && !empty(given))
    }

    /// Takes a field out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Given<'a>> {
        let at = self.0.iter().position(|(each, _)| *each == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

impl Known<'_> {
    /// The field of that name, and what it holds.
    pub(crate) fn find(&self, name: &str) -> Option<(&'static str, Holds)> {
        let among = |names: &[&'static str], name: &str, holds| {
            names.iter().find(|each| **each == name).map(|each| (*each, holds))
        };
        // `masks[]`, as forms write lists.
        let bare = name.strip_suffix("[]").unwrap_or(name);
        among(self.pictures, name, Holds::Picture)
            .or_else(|| among(self.lists, bare, Holds::Pictures))
            .or_else(|| among(self.plain, name, Holds::Plain))
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
        while let Some(known) = map.next_key_seed(Name(self.0, &mut fields))? {
            match known {
                Some((name, holds)) => {
                    fields.put(name, map.next_value_seed(Value { known: self.0, holds })?);
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

/// The name of a field, if it is known; else it is noted.
struct Name<'k, 'f, 'a>(Known<'k>, &'f mut Fields<'a>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_, '_> {
    type Value = Option<(&'static str, Holds)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_, '_> {
    type Value = Option<(&'static str, Holds)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let known = self.0.find(name);
        if known.is_none() {
            self.1.stray(name);
        }
        Ok(known)
    }
}

/// The value of a known field.
struct Value<'k> {
    known: Known<'k>,
    holds: Holds,
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
        match self.holds {
            Holds::Plain => {}
            Holds::Picture => return Ok(Given::Picture(ImageSource::from_text(text))),
            Holds::Pictures => return Ok(Given::Pictures(vec![ImageSource::from_text(text)])),
        }
        Ok(self.known.text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        match self.holds {
            Holds::Plain => {}
            Holds::Picture => return Ok(Given::Picture(ImageSource::from_text(text))),
            Holds::Pictures => return Ok(Given::Pictures(vec![ImageSource::from_text(text)])),
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
        let mut pictures = Vec::new();
        let element = || Value { known: self.known, holds: Holds::Picture };
        while self.holds == Holds::Pictures && pictures.len() <= MOST_REGIONS {
            match list.next_element_seed(element())? {
                Some(Given::Picture(picture)) => pictures.push(picture),
                Some(_) => pictures.push(Err(SourceError::NoPicture)),
                None => return Ok(Given::Pictures(pictures)),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(if self.holds == Holds::Pictures { Given::Pictures(pictures) } else { Given::Nested })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Nested)
    }
}

#[cfg(test)]
mod tests;
