//! Back to 8 bits: the decoder's output and the mask's preview (docs/reference-pipeline.md 15).
//!
//! Files are written by [`Picture::encode`](crate::Picture::encode), which follows the same section (lossy WebP method 4, baseline
//! 4:2:0 JPEG with fitted tables, PNG).

use candle_core::{Error, Result, Tensor};
use image::{Rgb, RgbImage};

use super::{Plane, truncate_u8};

/// The VAE decoder's raw output (1, 3, h, w), nominally in [-1, 1], as pixels: `(y+1)/2` clamped, fractions dropped.
///
/// # Errors
/// Tensor errors, also for another shape.
pub fn decoded(raw: &Tensor) -> Result<RgbImage> {
    let (_, channels, height, width) = raw.dims4()?;
    if channels != 3 {
        return Err(Error::Msg("a decoded picture has 3 channels".into()));
    }
    RgbImage::from_raw(width as u32, height as u32, kernels::to_bytes(raw)?)
        .ok_or_else(|| Error::Msg(format!("a picture of {width}×{height} has another number of samples")))
}

/// A mask as a grey picture.
#[must_use]
pub fn grey(mask: &Plane) -> RgbImage {
    RgbImage::from_fn(mask.width(), mask.height(), |x, y| {
        Rgb([truncate_u8(255.0 * mask.get_pixel(x, y)[0]); 3])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn channels_and_clamping() {
        let raw =
            Tensor::new(&[[[[-1.5f32, 0.0]], [[1.0, 2.0]], [[-1.0, 0.5]]]], &Device::Cpu).expect("tensor");
        let picture = decoded(&raw).expect("3 channels");
        assert_eq!(picture.as_raw(), &[0, 255, 0, 127, 255, 191]);
        assert!(decoded(&raw.narrow(1, 0, 1).expect("narrow")).is_err());
    }
}
