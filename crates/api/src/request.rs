//! A transfer as the client asked for it: [`TransferRequest`], read by a [`Schema`] from a JSON object or from a form.
//!
//! The schema is the parameter table: names, ranges, defaults and descriptions, once. It reads requests, and the OpenAPI
//! document, the options of the command line and the table of the documentation follow from it. Parameters it does not know are ignored, because clients send control words along with the rest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{FieldError, RequestError};
use crate::given::{Fields, Given, Known};
use crate::image_source::ImageSource;
use crate::parameter::{
    Choice, Described, Facts, Flag, Image, Integer, Number, Parameter, Seed, Text, Wording, object_schema,
};
use crate::words::{MaterialStrength, OutputFormat};

/// A transfer as the client asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferRequest {
    /// Whose material is taken.
    pub material_image: ImageSource,
    /// What gets the material.
    pub subject_image: ImageSource,
    /// The rest.
    pub parameters: Parameters,
    /// v1 only: answer `{"image": "<base64>"}` instead of the bytes. An old flag that is no parameter of the model;
    /// nonsense in it counts as no.
    pub base64: bool,
}

impl TransferRequest {
    /// The bytes of the pictures inside the request.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        let bytes = |image: &ImageSource| match image {
            ImageSource::Inline(file) => file.len(),
            ImageSource::Url(_) => 0,
        };
        bytes(&self.material_image) + bytes(&self.subject_image)
    }
}

/// One value of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormValue {
    /// A text field.
    Text(String),
    /// A file part.
    File(Vec<u8>),
}

/// What an operator may narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest `steps`.
    pub max_steps: u32,
    /// The longest `prompt` and `negative_prompt`, in characters.
    pub max_prompt: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_steps: 150, max_prompt: 10_000 }
    }
}

/// The table of parameters: from one line for each follow the field of [`Parameters`], the reading of requests in JSON and
/// forms, the OpenAPI document, the options of the command line and the table in `docs/api.md`. A line is the name, the type
/// it is read into, the kind of parameter ([`crate::parameter`]), and what that kind wants to know, the description first.
macro_rules! parameters {
    ($limits:ident => $(
        $name:ident: $value:ty = $kind:ident $(<$of:ty>)? { $description:literal $(, $field:ident: $setting:expr)* $(,)? }
    )*) => {
        /// All parameters but the pictures, settled and in range.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Parameters {
            $(#[doc = concat!($description, ".")] pub $name: $value,)*
        }

        /// The parameter table.
        #[derive(Debug, Clone)]
        pub struct Schema {
            material_image: Image,
            subject_image: Image,
            $($name: $kind$(<$of>)?,)*
        }

        impl Schema {
            /// The table under an operator's limits. Defaults and ranges are those of the hosted model.
            #[must_use]
            pub fn new($limits: Limits) -> Self {
                Self {
                    material_image: MATERIAL_IMAGE,
                    subject_image: SUBJECT_IMAGE,
                    $($name: $kind {
                        name: stringify!($name), description: $description, $($field: $setting,)*
                    },)*
                }
            }

            /// All parameters but the pictures.
            fn plain(&self) -> Vec<&dyn Described> {
                vec![$(&self.$name),*]
            }

            fn read_plain(&self, reader: &mut Reader<'_>) -> Option<Parameters> {
                $(let $name = reader.value(&self.$name);)*
                Some(Parameters { $($name: <$value>::try_from($name?).ok()?),* })
            }
        }

        /// The names of the fields that hold no pictures.
        const PLAIN: &[&str] = &[$(stringify!($name),)* BASE64.name];
    };
}

parameters! { limits =>
    prompt: String = Text {
        "What the picture shows once the material is on it, for engines that read text",
        default: "marble sculpture", max_length: limits.max_prompt,
    }
    negative_prompt: String = Text {
        "What the picture must not show, for engines that read text",
        default: "", max_length: limits.max_prompt,
    }
    guidance_scale: f64 = Number {
        "How closely the result keeps to the prompt; with the embedded engine, from the subject's light to the material's",
        default: 2.0, min: 1.0, max: 10.0,
    }
    steps: u32 = Integer {
        "Sampler steps; more take longer and bring more detail, up to about 20",
        default: 6.min(limits.max_steps), min: 1, max: limits.max_steps, wording: Wording::Sides,
    }
    material_strength: MaterialStrength = Choice<MaterialStrength> {
        "How strongly the material replaces the surface of the subject",
        of: MaterialStrength::WORDS, default: "medium",
    }
    max_width: u32 = Integer {
        "The result is at most this wide, in pixels; a smaller subject is not enlarged",
        default: 1920, min: 64, max: i32::MAX as u32, wording: Wording::Below,
    }
    max_height: u32 = Integer {
        "The result is at most this high, in pixels; a smaller subject is not enlarged",
        default: 1920, min: 64, max: i32::MAX as u32, wording: Wording::Below,
    }
    output_format: OutputFormat = Choice<OutputFormat> {
        "File format of the pictures",
        of: OutputFormat::WORDS, default: "webp",
    }
    output_quality: u8 = Integer {
        "Quality of lossy files; no effect on png",
        default: 80, min: 0, max: 100, wording: Wording::Between,
    }
    return_intermediate_images: bool = Flag {
        "Also keep the pictures made on the way, such as the mask of the subject",
    }
    seed: Option<u64> = Seed {
        "Repeats a result: the same seed gives the same picture",
    }
}

const MATERIAL_IMAGE: Image =
    Image { name: "material_image", description: "The picture whose material is taken" };

const SUBJECT_IMAGE: Image =
    Image { name: "subject_image", description: "The picture whose subject gets the material" };

impl Default for Schema {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Schema {
    /// The fields that are read; everything else in a body is skipped.
    fn known(&self) -> Known<'static> {
        // A character takes four bytes at most, and no other field's text is as long as a prompt's.
        let longest_text = self.prompt.max_length.saturating_mul(4).max(1024);
        Known { plain: PLAIN, pictures: PICTURES, longest_text }
    }

    /// Is this the name of a field of a form that is read? All others need not be kept.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.known().find(name).is_some()
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// [`RequestError`]: not JSON, no object, or all bad fields.
    pub fn from_json(&self, body: &[u8]) -> Result<TransferRequest, RequestError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(RequestError::NotAnObject);
        }
        let fields = self.known().read(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
        self.read(fields.ok_or(RequestError::NotAnObject)?)
    }

    /// Reads the fields of a form. A repeated field counts as its last one, as a repeated key of an object does; an empty
    /// one counts as absent where the empty text is no value, because browsers send every field of a form.
    ///
    /// # Errors
    /// [`RequestError::Fields`].
    pub fn from_form(&self, form: Vec<(String, FormValue)>) -> Result<TransferRequest, RequestError> {
        let (known, mut fields) = (self.known(), Fields::default());
        for (name, value) in form {
            let Some((name, picture)) = known.find(&name) else { continue };
            let given = match value {
                FormValue::File(bytes) if picture => Given::Picture(ImageSource::from_file(bytes)),
                FormValue::Text(text) if picture => Given::Picture(ImageSource::from_text(&text)),
                FormValue::Text(text) => known.text(text),
                // A small value sent as a file part is still that value.
                FormValue::File(bytes) => known.text(String::from_utf8_lossy(&bytes).into_owned()),
            };
            fields.put(name, given);
        }
        for name in PLAIN.iter().filter(|name| ![self.prompt.name, self.negative_prompt.name].contains(name))
        {
            fields.drop_blank(name);
        }
        self.read(fields)
    }

    fn read(&self, given: Fields<'_>) -> Result<TransferRequest, RequestError> {
        let mut reader = Reader { given, bad: Vec::new() };
        let material_image = reader.value(&self.material_image);
        let subject_image = reader.value(&self.subject_image);
        let parameters = self.read_plain(&mut reader);
        let base64 = BASE64.read(reader.given.remove(BASE64.name)).unwrap_or(false);
        let request = || {
            Some(TransferRequest {
                material_image: material_image?,
                subject_image: subject_image?,
                parameters: parameters?,
                base64,
            })
        };
        request().ok_or(RequestError::Fields(reader.bad))
    }

    /// The JSON Schema of the body, for the OpenAPI document.
    #[must_use]
    pub fn describe(&self) -> Value {
        let pictures: [&dyn Described; 2] = [&self.material_image, &self.subject_image];
        object_schema(pictures.into_iter().chain(self.plain()).chain([&BASE64 as &dyn Described]))
    }

    /// What people are told about every parameter, the pictures first.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        let pictures: [&dyn Described; 2] = [&self.material_image, &self.subject_image];
        pictures.into_iter().chain(self.plain()).map(Described::facts).collect()
    }
}

const BASE64: Flag = Flag {
    name: "base64",
    description: "v1 only: answer JSON with the picture as base64 under `image`, instead of the bytes",
};

/// The names of the fields that hold pictures.
pub(crate) const PICTURES: &[&str] = &[MATERIAL_IMAGE.name, SUBJECT_IMAGE.name];

/// Reads field after field and collects what is wrong.
struct Reader<'a> {
    given: Fields<'a>,
    bad: Vec<FieldError>,
}

impl Reader<'_> {
    fn value<P: Parameter>(&mut self, parameter: &P) -> Option<P::Value> {
        let given = self.given.remove(parameter.name());
        let read = parameter.read(given);
        read.map_err(|message| self.bad.push(FieldError { field: parameter.name(), message })).ok()
    }
}

#[cfg(test)]
mod tests;
