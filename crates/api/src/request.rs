//! A transfer as the client asked for it: [`TransferRequest`], read by a [`Schema`] from a JSON object or from a form.
//!
//! The schema is the parameter table: names, ranges, defaults and descriptions, once. It reads requests, and the OpenAPI
//! document, the options of the command line and the table of the documentation follow from it. Parameters it does not know are ignored, because clients send control words along with the rest.

mod pictures;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::pictures::{FIRST, FURTHER};
pub(crate) use self::pictures::{LISTS, PICTURES};
use crate::control::{self, BASE64, Control, DRY_RUN, WEBHOOK_URL};
use crate::error::{FieldError, RequestError};
use crate::given::{Fields, Given, Holds, Known};
use crate::image_source::ImageSource;
use crate::parameter::{
    Choice, Described, Facts, Flag, Integer, Number, Parameter, ParameterKind, Seed, Text, Wording,
    object_schema,
};
use crate::pictures::Pictures;
use crate::words::{Background, MaterialFit, MaterialStrength, OutputFormat};

/// A transfer as the client asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferRequest {
    /// Its pictures.
    pub pictures: Pictures<ImageSource>,
    /// The rest.
    pub parameters: Parameters,
    /// What is to be done with it.
    pub control: Control,
}

impl TransferRequest {
    /// The bytes of the pictures inside the request.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        let bytes = |image: &ImageSource| match image {
            ImageSource::Inline(file) => file.len(),
            ImageSource::Url(_) => 0,
        };
        self.pictures.iter().map(|(_, image)| bytes(image)).sum()
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
        #[serde(default)] // those that a stored job of an earlier version does not have
        pub struct Parameters {
            $(#[doc = concat!($description, ".")] pub $name: $value,)*
        }

        /// The parameter table.
        #[derive(Debug, Clone)]
        pub struct Schema {
            $($name: Parameter<$kind$(<$of>)?>,)*
        }

        impl Schema {
            /// The table under an operator's limits. Defaults and ranges are those of the hosted model.
            #[must_use]
            pub fn new($limits: Limits) -> Self {
                Self {
                    $($name: Parameter {
                        name: stringify!($name), description: $description, kind: $kind { $($field: $setting,)* },
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
        const PLAIN: &[&str] = &[$(stringify!($name),)* BASE64.name, WEBHOOK_URL.name, DRY_RUN.name];
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
        "Also keep the pictures made on the way, such as the mask of the subject", default: false,
    }
    seed: Option<u64> = Seed {
        "Repeats a result: the same seed gives the same picture",
    }
    material_weight: f64 = Number {
        "How much of the material is taken, without steps: 0 none, 1 as usual, 2 more than `strong`",
        default: 1.0, min: 0.0, max: 2.0,
    }
    material_blend: f64 = Number {
        "With a `blend_image`: from the material (0) to that one (1)",
        default: 0.5, min: 0.0, max: 1.0,
    }
    material_scale: f64 = Number {
        "How large the material's pattern is, times its usual size",
        default: 1.0, min: 0.25, max: 4.0,
    }
    material_fit: MaterialFit = Choice<MaterialFit> {
        "How engines with an image encoder see a material that is no square",
        of: MaterialFit::WORDS, default: "crop",
    }
    roughness: f64 = Number {
        "The material made smoother (below 0) or rougher; with the embedded engine, more or less of a polish",
        default: 0.0, min: -1.0, max: 1.0,
    }
    metallic: f64 = Number {
        "The material made less or more of a metal, where the profile has a network for it",
        default: 0.0, min: -1.0, max: 1.0,
    }
    transparency: f64 = Number {
        "The material made more transparent, where the profile has a network for it",
        default: 0.0, min: 0.0, max: 1.0,
    }
    glow: f64 = Number {
        "The material made to glow, where the profile has a network for it",
        default: 0.0, min: 0.0, max: 1.0,
    }
    mask_feather: f64 = Number {
        "How soft the edges of given masks are made, in pixels of the result",
        default: 1.5, min: 0.0, max: 100.0,
    }
    mask_invert: bool = Flag {
        "Given masks say what stays: the material goes where they are black, or transparent", default: false,
    }
    background: Background = Choice<Background> {
        "What is outside the mask: the subject picture's own pixels (`exact`), or what the engine painted there",
        of: Background::WORDS, default: "auto",
    }
    provenance: bool = Flag {
        "Files say in their metadata (XMP) that they were made by a machine, and how", default: true,
    }
}

impl Default for Parameters {
    /// What an empty request has.
    fn default() -> Self {
        let mut reader = Reader { given: Fields::default(), bad: Vec::new() };
        let defaults = Schema::default().read_plain(&mut reader);
        defaults.unwrap_or_else(|| unreachable!("every parameter has a default in range"))
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Schema {
    /// The fields that are read; everything else in a body is skipped.
    fn known(&self) -> Known<'static> {
        // A character takes four bytes at most, and no other field's text is as long as a prompt's.
        let longest_text = self.prompt.kind.max_length.saturating_mul(4).max(1024);
        Known { plain: PLAIN, pictures: PICTURES, lists: LISTS, longest_text }
    }

    /// Is this the name of a field of a form that is read? All others need not be kept.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.known().find(name).is_some()
    }

    /// May a form have this field several times?
    #[must_use]
    pub fn repeats(&self, name: &str) -> bool {
        self.known().find(name).is_some_and(|(_, holds)| holds == Holds::Pictures)
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
            let Some((name, holds)) = known.find(&name) else {
                fields.stray(&name);
                continue;
            };
            let picture = |value| match value {
                FormValue::File(bytes) => ImageSource::from_file(bytes),
                FormValue::Text(text) => ImageSource::from_text(&text),
            };
            match (holds, value) {
                (Holds::Picture, value) => fields.put(name, Given::Picture(picture(value))),
                (Holds::Pictures, value) => fields.push(name, picture(value)),
                (Holds::Plain, FormValue::Text(text)) => fields.put(name, known.text(text)),
                // A small value sent as a file part is still that value.
                (Holds::Plain, FormValue::File(bytes)) => {
                    fields.put(name, known.text(String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
        for name in PLAIN.iter().filter(|name| ![self.prompt.name, self.negative_prompt.name].contains(name))
        {
            fields.drop_blank(name);
        }
        self.read(fields)
    }

    fn read(&self, given: Fields<'_>) -> Result<TransferRequest, RequestError> {
        let notes = control::strays(given.strays(), &self.names());
        let mut reader = Reader { given, bad: Vec::new() };
        let pictures = pictures::read(&mut reader);
        let parameters = self.read_plain(&mut reader);
        let control = Control::read(&mut reader, notes);
        match (pictures, parameters, control) {
            (Some(pictures), Some(parameters), Some(control)) => {
                Ok(TransferRequest { pictures, parameters, control })
            }
            _ => Err(RequestError::Fields(reader.bad)),
        }
    }

    /// The JSON Schema of the body, for the OpenAPI document.
    #[must_use]
    pub fn describe(&self) -> Value {
        object_schema(FIRST.into_iter().chain(self.plain()).chain(FURTHER).chain(Control::described()))
    }

    /// The names of all fields.
    fn names(&self) -> Vec<&'static str> {
        let all = FIRST.into_iter().chain(self.plain()).chain(FURTHER).chain(Control::described());
        all.map(Described::name).collect()
    }

    /// What people are told about every parameter, the pictures first.
    #[must_use]
    pub fn facts(&self) -> Vec<Facts> {
        FIRST.into_iter().chain(self.plain()).chain(FURTHER).map(Described::facts).collect()
    }
}

/// Reads field after field and collects what is wrong.
pub(crate) struct Reader<'a> {
    pub(crate) given: Fields<'a>,
    bad: Vec<FieldError>,
}

impl Reader<'_> {
    pub(crate) fn value<K: ParameterKind>(&mut self, parameter: &Parameter<K>) -> Option<K::Value> {
        let given = self.given.remove(parameter.name);
        let read = parameter.kind.read(given);
        read.map_err(|message| self.bad.push(FieldError { field: parameter.name, message })).ok()
    }
}

#[cfg(test)]
mod tests;
