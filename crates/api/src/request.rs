//! A transfer as the client asked for it: [`TransferRequest`], read by a [`Schema`] from a JSON object or from a form.
//!
//! The schema is the parameter table: names, ranges, defaults and descriptions, once. It reads requests and it writes
//! the OpenAPI document. Parameters it does not know are ignored, because clients send control words along with the rest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{FieldError, RequestError};
use crate::given::{Fields, Given, Known};
use crate::image_source::ImageSource;
use crate::parameter::{Choice, Flag, Image, Integer, Number, ObjectSchema, Parameter, Seed, Text, Wording};
use crate::words::{MaterialStrength, OutputFormat};

/// All parameters but the pictures, settled and in range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// What to paint.
    pub prompt: String,
    /// What to avoid.
    pub negative_prompt: String,
    /// 1 to 10.
    pub guidance_scale: f64,
    /// At least 1.
    pub steps: u32,
    /// See [`MaterialStrength`].
    pub material_strength: MaterialStrength,
    /// In pixels, at least 64.
    pub max_width: u32,
    /// In pixels, at least 64.
    pub max_height: u32,
    /// See [`OutputFormat`].
    pub output_format: OutputFormat,
    /// 0 to 100.
    pub output_quality: u8,
    /// Keep mask and the other pictures from inside the transfer?
    pub return_intermediate_images: bool,
    /// `None` asks for a random one.
    pub seed: Option<u64>,
}

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

/// The parameter table.
#[derive(Debug, Clone)]
pub struct Schema {
    material_image: Image,
    subject_image: Image,
    prompt: Text,
    negative_prompt: Text,
    guidance_scale: Number,
    steps: Integer,
    material_strength: Choice<MaterialStrength>,
    max_width: Integer,
    max_height: Integer,
    output_format: Choice<OutputFormat>,
    output_quality: Integer,
    return_intermediate_images: Flag,
    seed: Seed,
}

impl Default for Schema {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Schema {
    /// The table under an operator's limits. Defaults and ranges are those of the hosted model.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let side = |name, description| Integer {
            name,
            description,
            default: 1920,
            min: 64,
            max: i32::MAX as u32,
            wording: Wording::Below,
        };
        let text =
            |name, description, default| Text { name, description, default, max_length: limits.max_prompt };
        Self {
            material_image: Image {
                name: "material_image",
                description: "The picture whose material is taken: an HTTP(S) URL, a data URI or base64",
            },
            subject_image: Image {
                name: "subject_image",
                description: "The picture whose subject gets the material: an HTTP(S) URL, a data URI or base64",
            },
            prompt: text("prompt", "What the picture shows once the material is on it", "marble sculpture"),
            negative_prompt: text("negative_prompt", "What the picture must not show", ""),
            guidance_scale: Number {
                name: "guidance_scale",
                description: "How closely the result keeps to the prompt",
                default: 2.0,
                min: 1.0,
                max: 10.0,
            },
            steps: Integer {
                name: "steps",
                description: "Sampler steps. 15 to 20 bring more detail than the default, and take longer",
                default: 6.min(limits.max_steps),
                min: 1,
                max: limits.max_steps,
                wording: Wording::Sides,
            },
            material_strength: Choice {
                name: "material_strength",
                description: "How strongly the material replaces the surface of the subject",
                of: MaterialStrength::WORDS,
                default: "medium",
            },
            max_width: side(
                "max_width",
                "Max width of the output image, in pixels. A smaller subject is not enlarged",
            ),
            max_height: side(
                "max_height",
                "Max height of the output image, in pixels. A smaller subject is not enlarged",
            ),
            output_format: Choice {
                name: "output_format",
                description: "File format of the pictures",
                of: OutputFormat::WORDS,
                default: "webp",
            },
            output_quality: Integer {
                name: "output_quality",
                description: "Quality of lossy files, 0 to 100. No effect on png",
                default: 80,
                min: 0,
                max: 100,
                wording: Wording::Between,
            },
            return_intermediate_images: Flag {
                name: "return_intermediate_images",
                description: "Also keep the pictures made on the way, such as the mask of the subject",
            },
            seed: Seed {
                name: "seed",
                description: "Set a seed for reproducibility. Random by default (null, absent or -1)",
            },
        }
    }

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
        let prompt = reader.value(&self.prompt);
        let negative_prompt = reader.value(&self.negative_prompt);
        let guidance_scale = reader.value(&self.guidance_scale);
        let steps = reader.value(&self.steps);
        let material_strength = reader.value(&self.material_strength);
        let max_width = reader.value(&self.max_width);
        let max_height = reader.value(&self.max_height);
        let output_format = reader.value(&self.output_format);
        let output_quality =
            reader.value(&self.output_quality).and_then(|quality| u8::try_from(quality).ok());
        let return_intermediate_images = reader.value(&self.return_intermediate_images);
        let seed = reader.value(&self.seed);
        let base64 = BASE64.read(reader.given.remove(BASE64.name)).unwrap_or(false);
        let request = || {
            Some(TransferRequest {
                material_image: material_image?,
                subject_image: subject_image?,
                parameters: Parameters {
                    prompt: prompt?,
                    negative_prompt: negative_prompt?,
                    guidance_scale: guidance_scale?,
                    steps: steps?,
                    material_strength: material_strength?,
                    max_width: max_width?,
                    max_height: max_height?,
                    output_format: output_format?,
                    output_quality: output_quality?,
                    return_intermediate_images: return_intermediate_images?,
                    seed: seed?,
                },
                base64,
            })
        };
        request().ok_or(RequestError::Fields(reader.bad))
    }

    /// The JSON Schema of the body, for the OpenAPI document.
    #[must_use]
    pub fn describe(&self) -> Value {
        ObjectSchema::default()
            .with(&self.material_image)
            .with(&self.subject_image)
            .with(&self.prompt)
            .with(&self.negative_prompt)
            .with(&self.guidance_scale)
            .with(&self.steps)
            .with(&self.material_strength)
            .with(&self.max_width)
            .with(&self.max_height)
            .with(&self.output_format)
            .with(&self.output_quality)
            .with(&self.return_intermediate_images)
            .with(&self.seed)
            .with(&BASE64)
            .finish()
    }
}

const BASE64: Flag = Flag {
    name: "base64",
    description: "v1 only: answer JSON with the picture as base64 under `image`, instead of the bytes",
};

/// The names of the fields that hold pictures.
pub(crate) const PICTURES: &[&str] = &["material_image", "subject_image"];

/// The names of the other fields.
const PLAIN: &[&str] = &[
    "prompt",
    "negative_prompt",
    "guidance_scale",
    "steps",
    "material_strength",
    "max_width",
    "max_height",
    "output_format",
    "output_quality",
    "return_intermediate_images",
    "seed",
    BASE64.name,
];

/// Reads field after field and collects what is wrong.
struct Reader<'a> {
    given: Fields<'a>,
    bad: Vec<FieldError>,
}

impl Reader<'_> {
    fn value<P: Parameter>(&mut self, parameter: &P) -> Option<P::Value> {
        let given = self.given.remove(parameter.name());
        self.settle(parameter.name(), parameter.read(given))
    }

    fn settle<T>(&mut self, field: &'static str, read: Result<T, String>) -> Option<T> {
        read.map_err(|message| self.bad.push(FieldError { field, message })).ok()
    }
}

#[cfg(test)]
mod tests;
