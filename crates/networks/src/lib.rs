//! One module per network, and the readers of their weights.
//!
//! Every network takes its dimensions from a configuration that a profile can state, and its tensors from [`Weights`] by
//! the names of the published files; tiny test networks run the same code as full-size ones. Pictures, samplers and the
//! origin of files are unknown here; performance lives behind `kernels`.
//!
//! The networks are our own and not candle-transformers': its UNet takes neither SDXL's added conditioning, nor image tokens,
//! nor a T2I-Adapter's features; its OpenCLIP bigG approximates the GELU and has no pooled output; its DINOv2 and Depth Anything
//! resize by nearest neighbours; its autoencoder has no tiles; and U²-Net, the line-art generator and the adapters are not in it.
//! Where it is right, it is a witness: `tests/suite/witness.rs` runs its autoencoder, CLIP encoders and UNet beside ours.

#![warn(clippy::match_bool, clippy::missing_errors_doc)]

pub mod checkpoint;
pub mod clip;
pub mod depth;
mod error;
pub mod form;
pub mod ip_adapter;
mod layers;
pub mod line_art;
pub mod lora;
pub mod material_edit;
pub mod synthetic;
pub mod t2i_adapter;
pub mod u2net;
pub mod unet;
pub mod vae;
pub mod weights;

pub use error::{Error, Result};
pub use weights::Weights;
