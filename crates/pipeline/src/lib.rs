//! From a profile to an engine.
//!
//! A [`profile`] names an engine, its weights and its numbers; [`engine()`] makes it, with the files of the model [`hub`],
//! on a device that [`open`] found. What comes out takes pictures and gives pictures: an [`Engine`] turns a [`Transfer`]
//! into an [`Outcome`].

mod device;
mod factory;
pub mod hub;
pub mod profile;
mod weights;

pub use device::{DeviceChoice, Opened, device, open};
pub use engine::{
    Cancel, Engine, Enough, Error, Intermediate, Outcome, Progress, Settings, Silent, Strength, Transfer,
    View,
};
pub use factory::{check_files, engine};
pub use kernels::{Arena, memory_limit, set_threads};
pub use pixels::{Cost, DecodeLimits, OutputFormat, Picture, PictureError, fit_within};
