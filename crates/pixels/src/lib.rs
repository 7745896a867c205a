//! Pictures: files in and out, colours, sizes, and the arithmetic on their samples.
//!
//! A [`Picture`] is what people look at: 8-bit sRGB, upright, perhaps with an alpha channel. Files of any origin become one
//! by [`Picture::decode`] and are written by [`Picture::encode`]. A [`Raster`] is what engines compute on: floating-point
//! samples with resizing, blurring and means.
//!
//! The kinds of files and their names are the API's ([`ImageKind`], [`OutputFormat`]), which drags in no codec.

mod geometry;
mod picture;
pub mod raster;

pub use api::{ImageKind, OutputFormat};
pub use geometry::fit_within;
pub use picture::{Cost, DecodeLimits, Picture, PictureError};
pub use raster::{Area, Kernel, Raster};
