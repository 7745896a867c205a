//! Fields that hold pictures.

use serde_json::{Value, json};

use super::{Kind, ParameterKind, present};
use crate::given::Given;
use crate::image_source::{ImageSource, SourceError};
use crate::pictures::MOST_REGIONS;

/// An input picture.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Nothing is drawn without it.
    pub(crate) required: bool,
}

/// What a picture may be, for people.
const FORMS: &str = "a URL, a data URI, base64, or a file of a form";

impl ParameterKind for Image {
    type Value = Option<ImageSource>;
    const KIND: Kind = Kind::Picture;

    fn schema(&self, description: &str) -> Value {
        let description = format!("{}: an HTTP(S) URL, a data URI or base64", description);
        json!({ "type": "string", "description": description, "minLength": 1, "description": description })
    }

    fn allowed(&self) -> String {
        FORMS.to_owned()
    }

    fn default(&self) -> Option<String> {
        (!self.required).then(|| "none".to_owned())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<Self::Value, String> {
        let read = match present(given) {
            None => Err(SourceError::Missing),
            Some(Given::Picture(read)) => read,
            Some(Given::Text(text)) => ImageSource::from_text(&text),
            Some(_) => Err(SourceError::NoPicture),
        };
        match read {
            Err(SourceError::Missing) if !self.required => Ok(None),
            read => read.map(Some).map_err(|error| error.to_string()),
        }
    }
}

/// Up to [`MOST_REGIONS`] pictures; a single one need not stand in a list.
#[derive(Debug, Clone)]
pub(crate) struct Images;

impl ParameterKind for Images {
    type Value = Vec<ImageSource>;
    const KIND: Kind = Kind::Pictures;

    fn schema(&self, description: &str) -> Value {
        let description = format!("{}: each an HTTP(S) URL, a data URI or base64", description);
        json!({
            "type": "array", "maxItems": MOST_REGIONS, "default": [], "description": description,
            "items": { "type": "string", "minLength": 1 },
        })
    }

    fn allowed(&self) -> String {
        format!("at most {MOST_REGIONS}, each {FORMS}")
    }

    fn default(&self) -> Option<String> {
        Some("none".to_owned())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<Self::Value, String> {
        let mut pictures = match present(given) {
            None => Vec::new(),
            Some(Given::Pictures(pictures)) => pictures,
            Some(_) => return Err("must be a list of pictures".to_owned()),
        };
        // An empty field of a form is no picture.
        if pictures == [Err(SourceError::Missing)] {
            pictures.clear();
        }
        if pictures.len() > MOST_REGIONS {
            return Err(format!("at most {MOST_REGIONS}"));
        }
        let read = pictures.into_iter().enumerate();
        read.map(|(at, picture)| picture.map_err(|error| format!("number {}: {error}", at + 1))).collect()
    }
}
