//! The only door to performance: one function per tensor operation, a plain form that defines it, faster forms behind it.
//!
//! Networks call these functions and never candle's convolution, softmax or normalisation directly, so every speed-up is
//! local to this crate. The plain form is a few candle calls; what stands here defines the operation. Layers with weights
//! ([`Conv2d`], [`Linear`], [`Norm`]) own them, so that a faster form may keep them packed.

mod activation;
mod arena;
mod attention;
#[cfg(test)]
mod compare;
mod convolution;
mod cpu;
mod gpu;
mod linear;
mod mapped_file;
mod memory_limit;
mod normalisation;
pub mod patch;
mod pictures;
mod resampling;
mod sinusoid;
mod transposed;
mod weight;

pub use activation::{Activation, geglu, gelu, quick_gelu, sigmoid, silu};
pub use arena::Arena;
pub use attention::{
    SCORES_BUDGET, attention, attention_add, attention_in_tiles, causal_mask, merge_heads, split_heads,
};
pub use convolution::{Conv2d, conv2d, conv2d_add, conv2d_joined, upsample_conv2d};
pub use cpu::parallel::set_threads;
#[cfg(feature = "cuda")]
pub use gpu::{Card, card, missing_kernels, open_cuda, peak_memory, trim};
pub use gpu::{Form, leave_out};
pub use linear::{Linear, linear, linear_add};
pub use mapped_file::MappedFile;
pub use memory_limit::memory_limit;
pub use normalisation::{
    Norm, group_norm, group_norm_silu, group_norm_silu_joined, instance_norm, layer_norm,
};
pub use pictures::{add_wide, as_tokens, join, laid_out_for, linear_picture_add, to_bytes};
pub use resampling::{
    avg_pool2d_padded, max_pool2d, pad_reflect, pixel_unshuffle, upsample_bilinear, upsample_nearest,
};
pub use sinusoid::sinusoid;
pub use transposed::{ConvTranspose2d, conv_transpose2d};
