//! What is said of parameters: to machines as JSON Schema, to people as a few words.

use serde_json::{Map, Value, json};

use super::{Parameter, ParameterKind};

/// A parameter of any kind, for whoever tells of it: the OpenAPI document, the command line, the documentation.
pub(crate) trait Described {
    /// Its name in the body.
    fn name(&self) -> &'static str;

    /// Its JSON Schema in the OpenAPI document.
    fn schema(&self) -> Value;

    /// The same for people.
    fn facts(&self) -> Facts;
}

impl<K: ParameterKind> Described for Parameter<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn schema(&self) -> Value {
        self.kind.schema(self.description)
    }

    fn facts(&self) -> Facts {
        Facts {
            name: self.name,
            description: self.description,
            kind: K::KIND,
            allowed: self.kind.allowed(),
            default: self.kind.default(),
        }
    }
}

/// What people are told about a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its name in the body of a request.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub description: &'static str,
    /// What kind of value it has.
    pub kind: Kind,
    /// What may be given: `1 to 10`.
    pub allowed: String,
    /// What counts when it is not given; `None` where it must be.
    pub default: Option<String>,
}

/// The kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Kind {
    Picture,
    Pictures,
    Text,
    Number,
    Integer,
    Choice,
    Boolean,
}

impl Kind {
    /// Its name in the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Pictures => "pictures",
            Self::Text => "text",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Choice => "one of",
            Self::Boolean => "boolean",
        }
    }
}

/// An object of parameters as JSON Schema. Those without a default are required.
pub(crate) fn object_schema<'a>(parameters: impl Iterator<Item = &'a dyn Described>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for parameter in parameters {
        properties.insert(parameter.name().to_owned(), parameter.schema());
        if parameter.facts().default.is_none() {
            required.push(parameter.name());
        }
    }
    json!({ "type": "object", "required": required, "properties": properties })
}
