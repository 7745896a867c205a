//! Pictures (b, c, h, w) and how they lie in memory: one channel after the other, or, in half precision on CUDA, with the channels of
//! a pixel side by side. A tensor's strides say which; every function takes both, and what is computed is the same.

use candle_core::{DType, Device, Result, Tensor};

use crate::Linear;

/// `x` (b, c, h, w) as (b, h, w, c), if its channels lie side by side.
pub(crate) fn channels_last(x: &Tensor) -> Option<Tensor> {
    let rows = (x.rank() == 4 && !x.device().is_cpu()).then(|| x.permute((0, 2, 3, 1)))?.ok()?;
    rows.is_contiguous().then_some(rows)
}

/// Pictures concatenated along their channels, which stay side by side where they are.
pub(crate) fn cat_channels(x: &[&Tensor]) -> Result<Tensor> {
    let rows: Option<Vec<Tensor>> = x.iter().map(|x| channels_last(x)).collect();
    match rows {
        Some(rows) => Tensor::cat(&rows, 3)?.permute((0, 3, 1, 2)),
        None => Tensor::cat(x, 1),
    }
}

/// Pictures concatenated along their channels, where each of the device's operations would concatenate them anew; none where
/// they are read as they lie.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn concat(x: &[&Tensor]) -> Result<Option<Tensor>> {
    match x {
        [first, _, ..] if !first.device().is_cpu() => cat_channels(x).map(Some),
        _ => Ok(None),
    }
}

/// `x` (b, c, h, w) as it must lie in memory to be added quickly to activations of `dtype` on its device.
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn laid_out_for(dtype: DType, x: &Tensor) -> Result<Tensor> {
    if crate::gpu::channels_last(x.device(), dtype) && channels_last(x).is_none() {
        x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))
    } else {
        Ok(x.clone())
    }
}

/// A picture's positions as tokens: (b, c, h, w) → (b, h·w, c). A view.
///
/// # Errors
/// Where `x` has other dimensions, or the device fails.
pub fn as_tokens(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    match channels_last(x) {
        Some(rows) => rows.reshape((batch, height * width, channels)),
        None => x.flatten_from(2)?.transpose(1, 2),
    }
}

/// `x` (b, c, h, w) plus the linear map of `tokens` (b, h·w, in), one per position.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn linear_picture_add(tokens: &Tensor, map: &Linear, x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    if channels_last(x).is_some() {
        let y = map.forward_with_residual(tokens, &as_tokens(x)?)?;
        return y.reshape((batch, height, width, channels))?.permute((0, 3, 1, 2));
    }
    let y = map.forward(tokens)?.transpose(1, 2)?.contiguous()?;
    x + y.reshape((batch, channels, height, width))?
}

/// `x` plus a feature map of its shape, or of one image for all. The map may be f32 beside half precision; the sum is taken in f32.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn add_wide(x: &Tensor, feature: &Tensor) -> Result<Tensor> {
    if let Some(y) = crate::gpu::add_wide(x, feature) {
        return y;
    }
    let sum = x.to_dtype(DType::F32)?.broadcast_add(&feature.to_dtype(DType::F32)?)?;
    sum.to_dtype(x.dtype())
}

/// A picture (1, c, h, w), nominally in [-1, 1], as bytes (h, w, c) on the CPU: `(x + 1)/2` clamped, times 255, fractions dropped.
///
/// # Errors
/// Where `x` is not one picture, or the device fails.
pub fn to_bytes(x: &Tensor) -> Result<Vec<u8>> {
    let bytes = match crate::gpu::bytes(x) {
        Some(bytes) => bytes?.flatten_all()?,
        None => {
            let scaled = x.squeeze(0)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let scaled = scaled.affine(0.5, 0.5)?.clamp(0.0, 1.0)?.permute((1, 2, 0))?.contiguous()?;
            // A cast drops fractions, as does the card's.
            return Ok(scaled
                .flatten_all()?
                .to_vec1::<f32>()?
                .into_iter()
                .map(|v| (255.0 * v) as u8)
                .collect());
        }
    };
    bytes.to_vec1::<u8>()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Result, Tensor};

    use super::{add_wide, as_tokens, concat, linear_picture_add, to_bytes};
    use crate::Linear;
    use crate::compare::{assert_close, noise};

    #[test]
    fn tokens_and_back() -> Result<()> {
        let x = noise(&[2, 3, 4, 5], 1);
        let tokens = as_tokens(&x)?;
        assert_eq!(tokens.dims(), [2, 20, 3]);
        let map = Linear::new(Tensor::eye(3, DType::F32, x.device())?, None);
        assert_close(&linear_picture_add(&tokens, &map, &x)?, &(&x * 2.0)?, 1e-6, "x + x");
        assert!(concat(&[&x, &x])?.is_none(), "the CPU's layers read pictures where they lie");
        Ok(())
    }

    #[test]
    fn wide_features_are_rounded_once() -> Result<()> {
        let x = Tensor::new(&[[[[2048f32]]]], &candle_core::Device::Cpu)?.to_dtype(DType::F16)?;
        let feature = Tensor::new(&[[[[1.5f32]]]], x.device())?;
        // 2049.5 lies between 2048 and 2050, the neighbours in f16.
        assert_eq!(add_wide(&x, &feature)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?, [2050.0]);
        Ok(())
    }

    #[test]
    fn bytes_are_clamped_and_truncated() -> Result<()> {
        let x = Tensor::new(&[[[[-1.5f32, 0.0]], [[1.0, 2.0]], [[-1.0, 0.5]]]], &candle_core::Device::Cpu)?;
        assert_eq!(to_bytes(&x)?, [0, 255, 0, 127, 255, 191]);
        Ok(())
    }
}
