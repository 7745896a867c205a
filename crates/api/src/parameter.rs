//! The kinds of parameters: how each reads an untidy JSON value, and how each describes itself in the OpenAPI document.
//!
//! Real clients send `"6"`, `6.0` and `null` for the number six and its default, and a form makes everything a string;
//! all of that is settled here and nowhere else. A value out of range is refused, never clamped. Reading and describing
//! stand side by side on one type, so that no document can say anything else than the server does.

mod address;
mod described;
mod numbers;
mod pictures;

use serde_json::{Value, json};

pub(crate) use self::address::Address;
pub(crate) use self::described::{Described, object_schema};
pub use self::described::{Facts, Kind};
use self::numbers::{integer, number};
pub(crate) use self::pictures::{Image, Images};
use crate::given::Given;

/// A parameter by its name, with what kind of value it has.
#[derive(Debug, Clone)]
pub(crate) struct Parameter<K> {
    /// Its name in the body.
    pub(crate) name: &'static str,
    /// What it is for, in one sentence without a full stop.
    pub(crate) description: &'static str,
    /// What may be given, and what counts when nothing is.
    pub(crate) kind: K,
}

/// A kind of parameter: how values are read from what a client sent, and what is said of them.
pub(crate) trait ParameterKind {
    /// What it is read into.
    type Value;

    /// Its name for people.
    const KIND: Kind;

    /// The JSON Schema of a parameter that has this description.
    fn schema(&self, description: &str) -> Value;

    /// What may be given, for people.
    fn allowed(&self) -> String;

    /// What counts when it is not given, for people; `None` where it must be.
    fn default(&self) -> Option<String>;

    /// Reads what was given; `None` and JSON's `null` mean the default. `Err` is the message without the name.
    ///
    /// # Errors
    /// One sentence for the client.
    fn read(&self, given: Option<Given<'_>>) -> Result<Self::Value, String>;
}

/// What was given, with an explicit `null` counted as nothing.
fn present(given: Option<Given<'_>>) -> Option<Given<'_>> {
    given.filter(|value| *value != Given::Null)
}

/// Free text.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) default: &'static str,
    /// In characters, not bytes.
    pub(crate) max_length: usize,
}

impl ParameterKind for Text {
    type Value = String;
    const KIND: Kind = Kind::Text;

    fn schema(&self, description: &str) -> Value {
        json!({
            "type": "string", "description": description, "default": self.default, "maxLength": self.max_length,
        })
    }

    fn allowed(&self) -> String {
        format!("at most {} characters", self.max_length)
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_owned())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<String, String> {
        match present(given) {
            None => Ok(self.default.to_owned()),
            Some(Given::Text(text)) if text.chars().count() <= self.max_length => Ok(text.into_owned()),
            Some(Given::Text(_) | Given::Endless) => {
                Err(format!("too long (at most {} characters)", self.max_length))
            }
            Some(_) => Err("must be a string".to_owned()),
        }
    }
}

/// A number with both ends included.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub(crate) default: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl ParameterKind for Number {
    type Value = f64;
    const KIND: Kind = Kind::Number;

    fn schema(&self, description: &str) -> Value {
        json!({
            "type": "number", "description": description, "default": self.default,
            "minimum": self.min, "maximum": self.max,
        })
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.min, self.max)
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_string())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<f64, String> {
        let Some(value) = present(given) else { return Ok(self.default) };
        let number = number(&value).ok_or_else(|| "must be a number".to_owned())?;
        if (self.min..=self.max).contains(&number) {
            Ok(number)
        } else {
            Err(format!("must be between {} and {}", self.min, self.max))
        }
    }
}

/// How an integer out of range is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wording {
    /// `must be an integer`, `must be at least 1`, `must be at most 150`.
    Sides,
    /// `must be between 0 and 100`, whatever is wrong.
    Between,
    /// `must be at least 64`, `must be an integer below 2147483648`: the upper end is none that anybody aims at.
    Below,
}

/// An integer with both ends included.
#[derive(Debug, Clone)]
pub(crate) struct Integer {
    pub(crate) default: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) wording: Wording,
}

impl ParameterKind for Integer {
    type Value = u32;
    const KIND: Kind = Kind::Integer;

    fn schema(&self, description: &str) -> Value {
        json!({
            "type": "integer", "description": description, "default": self.default,
            "minimum": self.min, "maximum": self.max,
        })
    }

    fn allowed(&self) -> String {
        match self.wording {
            Wording::Below => format!("at least {}", self.min),
            Wording::Sides | Wording::Between => format!("{} to {}", self.min, self.max),
        }
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_string())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<u32, String> {
        let Some(value) = present(given) else { return Ok(self.default) };
        let (min, max) = (self.min, self.max);
        let between =
            matches!(self.wording, Wording::Between).then(|| format!("must be between {min} and {max}"));
        let Some(integer) = integer(&value) else {
            return Err(between.unwrap_or_else(|| "must be an integer".to_owned()));
        };
        if integer < i128::from(min) {
            return Err(between.unwrap_or_else(|| format!("must be at least {min}")));
        }
        u32::try_from(integer).ok().filter(|&value| value <= max).ok_or_else(|| match self.wording {
            Wording::Below => format!("must be an integer below {}", u64::from(max) + 1),
            Wording::Sides | Wording::Between => between.unwrap_or_else(|| format!("must be at most {max}")),
        })
    }
}

/// The noise seed: any integer from 0 to 2⁶⁴ − 1; `null`, absent or −1 asks for a random one.
#[derive(Debug, Clone)]
pub(crate) struct Seed;

impl ParameterKind for Seed {
    type Value = Option<u64>;
    const KIND: Kind = Kind::Integer;

    fn schema(&self, description: &str) -> Value {
        json!({
            "type": ["integer", "null"], "description": description, "default": null,
            "minimum": -1, "maximum": u64::MAX,
        })
    }

    fn allowed(&self) -> String {
        format!("0 to {}; null or -1 for a random one", u64::MAX)
    }

    fn default(&self) -> Option<String> {
        Some("random".to_owned())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<Option<u64>, String> {
        let Some(value) = present(given) else { return Ok(None) };
        match integer(&value) {
            Some(-1) => Ok(None),
            Some(seed) if seed > i128::from(u64::MAX) => {
                Err(format!("must be an integer below {}", 1u128 << 64))
            }
            Some(seed) => u64::try_from(seed).map(Some).map_err(|_| NO_SEED.to_owned()),
            None => Err(NO_SEED.to_owned()),
        }
    }
}

const NO_SEED: &str = "must be a non-negative integer or -1";

/// One word of a few, exactly as written.
#[derive(Debug, Clone)]
pub(crate) struct Choice<T: 'static> {
    /// The words with their meanings; the first is no better than the others.
    pub(crate) of: &'static [(&'static str, T)],
    pub(crate) default: &'static str,
}

impl<T> Choice<T> {
    fn words(&self) -> Vec<&'static str> {
        self.of.iter().map(|(word, _)| *word).collect()
    }
}

impl<T: Copy> ParameterKind for Choice<T> {
    type Value = T;
    const KIND: Kind = Kind::Choice;

    fn schema(&self, description: &str) -> Value {
        json!({ "type": "string", "description": description, "default": self.default, "enum": self.words() })
    }

    fn allowed(&self) -> String {
        self.words().join(", ")
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_owned())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<T, String> {
        let given = present(given);
        let word = match &given {
            None => Some(self.default),
            Some(value) => value.as_str(),
        };
        self.of
            .iter()
            .find(|(each, _)| Some(*each) == word)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| format!("must be one of {}", self.words().join(", ")))
    }
}

/// Yes or no; `true`, `1`, `"True"` and `"1"` are yes.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub(crate) default: bool,
}

impl ParameterKind for Flag {
    type Value = bool;
    const KIND: Kind = Kind::Boolean;

    fn schema(&self, description: &str) -> Value {
        json!({ "type": "boolean", "description": description, "default": self.default })
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn default(&self) -> Option<String> {
        Some(self.default.to_string())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<bool, String> {
        let answer = match present(given) {
            None => Some(self.default),
            Some(Given::Bool(answer)) => Some(answer),
            Some(Given::Number(number)) => match number.as_u64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Some(Given::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Some(_) => None,
        };
        answer.ok_or_else(|| "must be a boolean".to_owned())
    }
}

#[cfg(test)]
mod tests;
