//! What is wrong with a request, in the words the client reads: one sentence a field, first bad field first.
//!
//! The envelope is always `{"error": "<one sentence>"}`, because a top-level string under that name is the only thing
//! that clients of this API look at; `request_id` and `details` come on top of it where there is something to say.

use schemars::JsonSchema;
use serde::Serialize;

/// One bad field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// The parameter's name.
    #[schemars(example = &"guidance_scale")]
    pub field: &'static str,
    /// What is wrong with it, without the name: `must be an integer`.
    #[schemars(example = &"must be between 1 and 10")]
    pub message: String,
}

/// Why a request body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The body is not JSON at all.
    #[error("Request body is not valid JSON: {0}")]
    NotJson(String),
    /// The body is empty, or JSON but no object.
    #[error("Request body must be a JSON object")]
    NotAnObject,
    /// The body is JSON, or a form, with parameters that cannot be used. Never empty; in the order of the parameter table.
    #[error("{}", first(.0))]
    Fields(Vec<FieldError>),
}

impl RequestError {
    /// One field that turned out bad after parsing (a picture that does not decode).
    #[must_use]
    pub fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self::Fields(vec![FieldError { field, message: message.into() }])
    }

    /// Every bad field, for the envelope's `details`; empty when the body as a whole is the trouble.
    #[must_use]
    pub fn details(&self) -> &[FieldError] {
        match self {
            Self::Fields(all) => all,
            Self::NotJson(_) | Self::NotAnObject => &[],
        }
    }
}

/// `field: message` of the first bad field.
fn first(all: &[FieldError]) -> String {
    all.first().map_or_else(String::new, |bad| format!("{}: {}", bad.field, bad.message))
}

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// One sentence for a person.
    #[schemars(example = &"guidance_scale: must be between 1 and 10")]
    pub error: String,
    /// The job this is about, where it can still be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub request_id: Option<String>,
    /// All bad fields of a refused request, if fields were the trouble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<FieldError>,
}

impl ErrorBody {
    /// Just the sentence.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), request_id: None, details: Vec::new() }
    }
}

impl From<&RequestError> for ErrorBody {
    fn from(error: &RequestError) -> Self {
        Self { details: error.details().to_vec(), ..Self::new(error.to_string()) }
    }
}
