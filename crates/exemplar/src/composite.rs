//! Puts the relit material back into the picture. Where the mask is 0 the picture's bytes stay as they are.

use image::RgbImage;
use rayon::prelude::*;

use super::raster::{Raster, to_byte};
use super::window::Window;

/// Blends `lit` (canvas, RGB) over `picture` by the mask. At a soft edge the picture's own pixel already mixes the old
/// subject with what lies behind; the part behind is estimated, so that no rim of the old colour remains.
///
/// `cut_out`: the mask is the picture's own alpha channel, which the result keeps. Then every pixel that is seen at all is
/// the new material alone: what lies behind it is not the picture's to say.
pub(crate) fn composite(picture: &RgbImage, lit: &Raster, window: &Window, cut_out: bool) -> RgbImage {
    let behind = background(picture, window);
    let mut out = picture.clone();
    let width = picture.width() as usize;
    out.par_chunks_exact_mut(width * 3).enumerate().for_each(|(y, row)| {
        let canvas_y = y as isize - window.top;
        if !(0..lit.height as isize).contains(&canvas_y) {
            return;
        }
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let canvas_x = x as isize - window.left;
            if !(0..lit.width as isize).contains(&canvas_x) {
                continue;
            }
            let (u, v) = (canvas_x as usize, canvas_y as usize);
            let a = window.mask.pixel(u, v)[0];
            if a <= 0.0 {
                continue;
            }
            let a = if cut_out { 1.0 } else { a };
            // The surer the old subject is in the pixel, the more the estimate replaces it.
            let trust = (2.0 * a).min(1.0);
            let (new, back) = (lit.pixel(u, v), behind.pixel(u, v));
            for (c, p) in pixel.iter_mut().enumerate() {
                let old = f32::from(*p) / 255.0;
                let rest = old + trust * (back[c] - old);
                *p = to_byte(a * new[c] + (1.0 - a) * rest);
            }
        }
    });
    out
}

/// What lies behind the soft edge: the surroundings, extended under it.
fn background(picture: &RgbImage, window: &Window) -> Raster {
    let clear = window.mask.map(1, |m, o| o[0] = f32::from(u8::from(m[0] < 0.02)));
    window.cut(&Raster::from_rgb(picture)).blur_within(&clear, 2.0)
}
