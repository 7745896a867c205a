//! Pictures in, pictures out: one material transfer.
//!
//! A [`Transfer`] (decoded pictures and settled numbers) goes into an [`Engine`]; an [`Outcome`] comes out.
//! Two engines share one sampler: the embedded `exemplar` and the reference `sdxl`. A profile names the
//! engine, its weights and its dimensions. This crate knows nothing of HTTP or of queues.

mod clock;
mod device;
mod engine;
mod error;
pub mod exemplar;
mod geometry;
pub mod hub;
mod mask;
mod picture;
pub mod profile;
pub mod sdxl;
mod transfer;

pub use device::{DeviceChoice, Opened, device, open};
pub use engine::{Cancel, Engine, Enough, Progress, Silent, View};
pub use error::Error;
pub use geometry::fit_within;
pub use kernels::{Arena, memory_limit, set_threads};
pub use picture::{Cost, DecodeLimits, OutputFormat, Picture, PictureError};
pub use transfer::{Intermediate, Outcome, Settings, Strength, Transfer};
