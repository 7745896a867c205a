//! The line-art hint around its network (docs/reference-pipeline.md 13): picture → padded input, drawing → white lines on black.

use candle_core::{Result, Tensor};
use image::{Rgb, RgbImage};

use super::resize::{opencv, pick, scaled};
use super::{Plane, truncate_u8};

/// Short side of the hint and of the network's input before padding.
const SIDE: u32 = 512;
/// The padded sides are multiples of this.
const BLOCK: u32 = 64;

/// The hint's (width, height) for a picture of `size`: short side 512, up or down.
#[must_use]
pub fn hint_size((width, height): (u32, u32)) -> (u32, u32) {
    let ratio = f64::from(SIDE) / f64::from(width.min(height));
    (scaled(width, ratio), scaled(height, ratio))
}

/// The picture at [`hint_size`] (cubic up, area down), its last column and row repeated up to multiples of 64.
#[must_use]
pub fn padded(image: &RgbImage) -> RgbImage {
    let size = hint_size(image.dimensions());
    let fitted = if image.width().min(image.height()) < SIDE {
        opencv::cubic(image, size)
    } else {
        opencv::area(image, size)
    };
    let target = (size.0.next_multiple_of(BLOCK), size.1.next_multiple_of(BLOCK));
    pick(&fitted, target, |x| x.min(size.0 - 1), |y| y.min(size.1 - 1))
}

/// The padded picture as the network sees it: (1, 3, h, w) in [0, 1].
///
/// # Errors
/// Tensor errors.
pub fn network_input(image: &RgbImage) -> Result<Tensor> {
    let padded = padded(image);
    let size = (padded.width() as usize, padded.height() as usize);
    super::planar(&padded, size, |_, v| f32::from(v) / 255.0)
}

/// The network's drawing (dark lines on white, padded size) as the hint for a picture of `size`: inverted, padding cut off.
#[must_use]
pub fn hint(drawing: &Plane, size: (u32, u32)) -> RgbImage {
    let (width, height) = hint_size(size);
    RgbImage::from_fn(width, height, |x, y| Rgb([255 - truncate_u8(255.0 * drawing.get_pixel(x, y)[0]); 3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_turn_white_and_the_padding_goes() {
        let drawing = crate::plane(576, 512, (0..576 * 512).map(|i| if i == 577 { 0.1 } else { 1.0 }));
        let out = hint(&drawing, (520, 512));
        assert_eq!(out.dimensions(), (520, 512));
        // 255 - trunc(25.5)
        assert_eq!((out.get_pixel(1, 1).0, out.get_pixel(0, 0).0), ([230; 3], [0; 3]));
    }
}
