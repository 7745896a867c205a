//! One file a network, and the readers of their weights.
//!
//! Every network takes its dimensions from a configuration that a profile can state, and its tensors from [`Weights`] by
//! the names of the published files; tiny test networks run the same code as full-size ones. Pictures, samplers and the
//! origin of files are unknown here; performance lives behind `kernels`.

pub mod checkpoint;
pub mod clip;
pub mod depth;
mod error;
pub mod form;
pub mod ip_adapter;
mod layers;
pub mod line_art;
pub mod lora;
pub mod synthetic;
pub mod t2i_adapter;
pub mod u2net;
pub mod unet;
pub mod vae;
pub mod weights;

pub use error::{Error, Result};
pub use weights::Weights;
