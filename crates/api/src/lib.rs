//! The wire: requests, responses, coercion, the error envelope, OpenAPI.
//!
//! Parse, don't validate: a [`Schema`] turns a JSON object or a form into a [`TransferRequest`] whose every number is in
//! range, or into a [`RequestError`] that names the bad fields. Nothing here knows HTTP servers or tensors.

mod control;
mod error;
mod given;
mod image_kind;
mod image_source;
mod openapi;
mod parameter;
mod pictures;
mod request;
pub mod response;
mod upload;
mod words;

pub use control::Control;
pub use error::{ErrorBody, FieldError, RequestError};
pub use image_kind::{ImageKind, extension_of, foreign, media_type};
pub use image_source::{ImageSource, LONGEST_URL, SourceError};
pub use openapi::openapi;
pub use parameter::{Facts, Kind};
pub use pictures::{MOST_REGIONS, Pictures, Region};
pub use request::{FormValue, Limits, Parameters, Schema, TransferRequest};
pub use upload::{MOST_UPLOADS, read_upload};
pub use words::{Background, MaterialFit, MaterialStrength, OutputFormat};
