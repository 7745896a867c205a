//! From a profile to an engine.
//!
//! A [`profile`] names an engine, its weights and its numbers; [`engine()`] makes it, with the files of the model [`hub`],
//! on a device that [`open`] found. What comes out takes pictures and gives pictures: an [`Engine`] turns a [`Transfer`]
//! into an [`Outcome`].
//!
//! ```
//! use pipeline::{Cancel, DeviceChoice, Picture, Settings, Silent, Transfer, profile};
//!
//! # use image::{Rgb, RgbImage};
//! # let subject = RgbImage::from_fn(96, 80, |x, y| {
//! #     let inside = (x as f32 - 48.0).hypot(y as f32 - 40.0) < 30.0;
//! #     Rgb(if inside { [200 - x as u8, 90, 40] } else { [30, 50, 60] })
//! # });
//! # let material = RgbImage::from_fn(96, 96, |x, y| Rgb([(x * 7 % 90) as u8 + 90, (y * 5 % 70) as u8 + 60, 40]));
//! let profile = profile::load("exemplar")?;
//! let device = pipeline::device(DeviceChoice::Cpu)?;
//! let engine = pipeline::engine(&profile, &device)?;
//! let subject = Picture::opaque(subject); // or Picture::decode(&file, &DecodeLimits::default())?
//! let material = Picture::opaque(material);
//! let transfer = Transfer::pair(subject, material, Settings { seed: 1, ..Settings::default() });
//! let outcome = engine.transfer(&transfer, &Silent, &Cancel::default())?;
//! assert_eq!(outcome.picture.rgb.dimensions(), (96, 80));
//! # Ok::<(), pipeline::Error>(())
//! ```
//!
//! `examples/transfer.rs` does it with files and shows the progress.

mod device;
mod factory;
pub mod hub;
pub mod profile;
mod weights;

pub use device::{DeviceChoice, Opened, device, open};
pub use engine::{
    Background, Cancel, Engine, Enough, Error, Intermediate, MaterialFit, Outcome, Pictures, Progress,
    Provenance, Region, Settings, Silent, Strength, Transfer, View,
};
pub use factory::{check_files, engine};
pub use kernels::{Arena, memory_limit, set_threads, share_heaps};
pub use pixels::{Cost, DecodeLimits, OutputFormat, Picture, PictureError, fit_within};
