//! Normalisations by our own kernels, whichever fits how the values lie.

use candle_core::{Result, Tensor};

use super::{norm, rows};
use crate::Activation;

pub(in crate::gpu) use rows::layer_norm;

/// See [`crate::gpu::group_norm`]; none for activations that the kernels lack.
pub(in crate::gpu) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Option<Activation>,
) -> Option<Result<Tensor>> {
    let silu = match activation {
        None => false,
        Some(Activation::Silu) => true,
        Some(_) => return None,
    };
    rows::group_norm(x, weight, bias, groups, eps, silu)
        .or_else(|| norm::group_norm(x, weight, bias, groups, eps, silu))
}
