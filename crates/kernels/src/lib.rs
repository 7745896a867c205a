//! The only door to performance: layers that own their parameters and functions of tensors, each with a reference that defines
//! it and optimised algorithms behind it.
//!
//! Networks use these and never candle's convolution, softmax or normalisation directly, so every speed-up is local to this
//! crate. The reference is a few candle calls; it defines the operation. Layers ([`Conv2d`], [`Linear`], [`GroupNorm`]…) own
//! their weights, so that an optimised algorithm may keep them packed.
//!
//! Dimensions of tensors are written (batch, channels, height, width), sides of an axis and sizes in values.

#![warn(clippy::match_bool, clippy::missing_errors_doc)]

mod activation;
mod arena;
mod attention;
#[cfg(test)]
mod compare;
mod convolution;
mod cpu;
mod gpu;
mod huge_pages;
mod input;
mod linear;
mod mapped_file;
mod memory_limit;
mod normalisation;
pub mod patch;
mod pictures;
mod resampling;
mod sinusoid;
mod system_heap;
mod transposed;
mod weight;
mod window;

pub use activation::{Activation, geglu, gelu, quick_gelu, sigmoid, silu};
pub use arena::Arena;
pub use attention::{
    SCORES_BUDGET, attention, attention_add, attention_in_tiles, causal_mask, merge_heads, split_heads,
};
pub use convolution::Conv2d;
pub use cpu::parallel::set_threads;
#[cfg(feature = "cuda")]
pub use gpu::{Card, card, missing_kernels, open_cuda, peak_memory, trim};
pub use gpu::{Optimisation, disable};
pub use input::Input;
pub use linear::Linear;
pub use mapped_file::MappedFile;
pub use memory_limit::memory_limit;
pub use normalisation::{GroupNorm, LayerNorm, instance_norm};
pub use pictures::{add_wide, as_tokens, concat, laid_out_for, linear_picture_add, to_bytes};
pub use resampling::{
    Corners, Rounding, avg_pool2d_padded, max_pool2d, pad_reflect, pixel_unshuffle, upsample_bilinear,
    upsample_nearest,
};
pub use sinusoid::sinusoid;
pub use system_heap::share_heaps;
pub use transposed::ConvTranspose2d;
