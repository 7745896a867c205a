//! The linear map y = x·Wᵀ + b over the last dimension.

use candle_core::{D, Result, Tensor};

/// A linear map: weight (out, in), optional bias (out).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`: (out, in); `bias`: (out).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }
}

/// `x` (…, in) → (…, out).
pub fn linear(x: &Tensor, map: &Linear) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let width = x.dim(D::Minus1)?;
    // One matrix product whatever the leading dimensions: batched products re-pack the weight for each of them.
    let rows = x.contiguous()?.reshape(((), width))?;
    let y = rows.matmul(&map.weight.t()?)?;
    let y = match &map.bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    if let Some(last) = dims.last_mut() {
        *last = y.dim(1)?;
    }
    y.reshape(dims)
}
