//! The subject's edges as white lines on black, for people to look at: thinned gradient magnitude (after Canny 1986).

use super::raster::Raster;

/// Edges of an RGB raster, one channel, 0 to 1.
pub(crate) fn lines(picture: &Raster) -> Raster {
    let smooth = picture.luma().blur(1.2);
    let at = |x: isize, y: isize| {
        let x = x.clamp(0, smooth.width as isize - 1) as usize;
        smooth.data[y.clamp(0, smooth.height as isize - 1) as usize * smooth.width + x]
    };
    let slope = |x: isize, y: isize| {
        let across = at(x + 1, y) - at(x - 1, y);
        let down = at(x, y + 1) - at(x, y - 1);
        (across, down, across.hypot(down))
    };
    let mut out = Raster::filled(picture.width, picture.height, 1, 0.0);
    for y in 0..picture.height as isize {
        for x in 0..picture.width as isize {
            let (across, down, steep) = slope(x, y);
            let (dx, dy) = if steep > 0.0 {
                ((across / steep).round() as isize, (down / steep).round() as isize)
            } else {
                (0, 0)
            };
            // Only the crest of a slope is a line.
            if steep >= slope(x + dx, y + dy).2 && steep >= slope(x - dx, y - dy).2 {
                out.data[y as usize * picture.width + x as usize] = (6.0 * steep).min(1.0);
            }
        }
    }
    out
}
