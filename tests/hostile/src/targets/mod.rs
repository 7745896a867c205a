//! Everything that reads bytes from outside, one module for each reader.

pub mod address;
pub mod configuration;
pub mod form;
pub mod image_source;
pub mod onnx;
pub mod picture;
pub mod profile;
pub mod pth;
pub mod request_json;
pub mod safetensors;
pub mod upload;

/// A target: its name, and what it does with one input. It panics when something is wrong.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("address", address::run),
    ("configuration", configuration::run),
    ("form", form::run),
    ("image_source", image_source::run),
    ("onnx", onnx::run),
    ("picture", picture::run),
    ("profile", profile::run),
    ("pth", pth::run),
    ("request_json", request_json::run),
    ("safetensors", safetensors::run),
    ("upload", upload::run),
];
