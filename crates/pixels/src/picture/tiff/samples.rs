//! From a TIFF's samples as they were compressed to pixels: whole bytes, side by side, and colours that need no table.

use super::directory::Directory;
use super::layout::{Alpha, Colours, Layout};
use crate::picture::colour::{Depth, Kind};

/// What the pixels will be.
pub(super) fn kind(layout: &Layout) -> Kind {
    let colours = match layout.colours {
        Colours::Grey { .. } => 1,
        Colours::Rgb | Colours::Palette | Colours::YCbCr => 3,
        Colours::Inks => 4,
    };
    let depth = match layout.bits {
        1..=8 => Depth::U8,
        9..=16 => Depth::U16,
        _ => Depth::F32,
    };
    Kind { colours, alpha: layout.alpha != Alpha::None, depth }
}

/// Whether [`pixels`] holds something beside what it is given.
pub(super) fn need_room(layout: &Layout) -> bool {
    layout.packed() || layout.planar || layout.shared != (1, 1) || layout.colours == Colours::Palette
}

/// The pixels; `None` if a table for them is missing or too short.
pub(super) fn pixels(layout: &Layout, directory: &Directory, raw: Vec<u8>) -> Option<Vec<u8>> {
    let size = sample_size(layout);
    let mut bytes = raw;
    if layout.shared != (1, 1) {
        bytes = spread(layout, &bytes);
    } else if layout.packed() {
        bytes = unpack(layout, &bytes);
    }
    if layout.planar {
        bytes = interleave(&bytes, layout.samples, size);
    }
    let alpha = usize::from(layout.alpha != Alpha::None);
    let wanted = layout.colours.samples() + alpha;
    keep(&mut bytes, layout.samples * size, wanted * size);
    match layout.colours {
        Colours::Grey { white_is_zero: true } => invert(&mut bytes, wanted * size, size),
        Colours::Palette => bytes = look_up(&bytes, wanted, layout.bits, &directory.numbers(320)?)?,
        Colours::YCbCr => to_rgb(&mut bytes, wanted, directory)?,
        Colours::Grey { .. } | Colours::Rgb | Colours::Inks => {}
    }
    if layout.alpha == Alpha::Associated && layout.colours != Colours::Inks {
        let samples = kind(layout).colours + 1;
        match kind(layout).depth {
            Depth::U8 => {
                divide(&mut bytes, samples, |byte: [u8; 1]| byte[0].into(), |value| [value as u8], 255.0)
            }
            Depth::U16 => {
                let from = |bytes| u16::from_ne_bytes(bytes).into();
                divide(&mut bytes, samples, from, |value| (value as u16).to_ne_bytes(), 65535.0);
            }
            Depth::F32 => {}
        }
    }
    Some(bytes)
}

/// Bytes of a sample once it is unpacked.
fn sample_size(layout: &Layout) -> usize {
    match layout.bits {
        1..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}

/// Samples that do not end where bytes end, the first in the highest bits, rows in whole bytes: to one or two bytes each, and
/// to the full range unless they are places in a palette.
fn unpack(layout: &Layout, raw: &[u8]) -> Vec<u8> {
    let bits = layout.bits;
    let (most, full) = ((1 << bits) - 1, if bits > 8 { 0xFFFF } else { 0xFF });
    let scale = |value: u32| match layout.colours {
        Colours::Palette => value,
        _ => (value * full + most / 2) / most,
    };
    let samples = layout.width as usize * layout.samples / layout.planes();
    let mut bytes = Vec::with_capacity(raw.len() / layout.row() * samples * sample_size(layout));
    for row in raw.chunks_exact(layout.row()) {
        let (mut held, mut count, mut rest) = (0_u32, 0, row.iter());
        for _ in 0..samples {
            while count < bits {
                held = held << 8 | u32::from(rest.next().copied().unwrap_or_default());
                count += 8;
            }
            count -= bits;
            let value = scale(held >> count & most);
            if bits > 8 {
                bytes.extend((value as u16).to_ne_bytes());
            } else {
                bytes.push(value as u8);
            }
        }
    }
    bytes
}

/// Planes one after the other become pixels.
fn interleave(planes: &[u8], samples: usize, size: usize) -> Vec<u8> {
    let plane = planes.len() / samples;
    let mut pixels = Vec::with_capacity(planes.len());
    for at in (0..plane).step_by(size) {
        for sample in 0..samples {
            let from = sample * plane + at;
            pixels.extend_from_slice(&planes[from..from + size]);
        }
    }
    pixels
}

/// Keeps the first `wanted` of each `size` bytes.
fn keep(bytes: &mut Vec<u8>, size: usize, wanted: usize) {
    if size == wanted {
        return;
    }
    let pixels = bytes.len() / size;
    for pixel in 1..pixels {
        bytes.copy_within(pixel * size..pixel * size + wanted, pixel * wanted);
    }
    bytes.truncate(pixels * wanted);
}

/// Turns the first sample of each pixel round. All bits of it: that is the largest value less it.
fn invert(bytes: &mut [u8], pixel: usize, sample: usize) {
    for pixel in bytes.chunks_exact_mut(pixel) {
        pixel[..sample].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Colours in place of their numbers. A palette holds all reds, all greens, all blues, of 16 bits; some writers left it at 8.
fn look_up(bytes: &[u8], samples: usize, bits: u32, palette: &[u64]) -> Option<Vec<u8>> {
    let colours = 1 << bits;
    let palette = palette.get(..3 * colours)?;
    let narrow = palette.iter().all(|value| *value < 256);
    let table: Vec<[u8; 3]> = (0..colours)
        .map(|colour| {
            [0, 1, 2].map(|channel| {
                let value = palette[channel * colours + colour];
                if narrow { value as u8 } else { (value >> 8) as u8 }
            })
        })
        .collect();
    let mut pixels = Vec::with_capacity(bytes.len() / samples * (samples + 2));
    for pixel in bytes.chunks_exact(samples) {
        pixels.extend_from_slice(table.get(usize::from(pixel[0]))?);
        pixels.extend_from_slice(&pixel[1..]);
    }
    Some(pixels)
}

/// Pixels that share a colour get it each.
fn spread(layout: &Layout, raw: &[u8]) -> Vec<u8> {
    let (across, down) = (layout.shared.0 as usize, layout.shared.1 as usize);
    let (width, height) = (layout.width as usize, layout.height as usize);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let row = &raw[y / down * layout.row()..][..layout.row()];
        for x in 0..width {
            let unit = &row[x / across * layout.unit()..][..layout.unit()];
            let lightness = unit[y % down * across + x % across];
            pixels.extend([lightness, unit[across * down], unit[across * down + 1]]);
        }
    }
    pixels
}

/// YCbCr by the coefficients and the ends of the ranges that the file names (TIFF 6.0, section 21).
fn to_rgb(bytes: &mut [u8], samples: usize, directory: &Directory) -> Option<()> {
    let [red, green, blue] = directory.ratios(529, [0.299, 0.587, 0.114])?;
    let ends: [f32; 6] = directory.ratios(532, [0.0, 255.0, 128.0, 255.0, 128.0, 255.0])?;
    let scale = |most: f32, low: f32, high: f32| most / (high - low);
    let scales =
        [scale(255.0, ends[0], ends[1]), scale(127.0, ends[2], ends[3]), scale(127.0, ends[4], ends[5])];
    if green == 0.0 || scales.iter().any(|scale| !scale.is_finite()) {
        return None;
    }
    for pixel in bytes.chunks_exact_mut(samples) {
        let value = |place: usize| (f32::from(pixel[place]) - ends[2 * place]) * scales[place];
        let (y, cb, cr) = (value(0), value(1), value(2));
        let r = cr * (2.0 - 2.0 * red) + y;
        let b = cb * (2.0 - 2.0 * blue) + y;
        let g = (y - blue * b - red * r) / green;
        pixel[..3].copy_from_slice(&[r, g, b].map(|value| value.round() as u8));
    }
    Some(())
}

/// Takes out of the colours the alpha that they were multiplied by.
fn divide<const N: usize>(
    bytes: &mut [u8],
    samples: usize,
    from: impl Fn([u8; N]) -> f32,
    to: impl Fn(f32) -> [u8; N],
    full: f32,
) {
    for pixel in bytes.chunks_exact_mut(samples * N) {
        let (colours, alpha) = pixel.split_at_mut((samples - 1) * N);
        let alpha = alpha.try_into().map_or(full, &from);
        if alpha == 0.0 || alpha == full {
            continue;
        }
        for colour in colours.chunks_exact_mut(N) {
            let value = <[u8; N]>::try_from(&*colour).map_or(0.0, &from);
            colour.copy_from_slice(&to((value * full / alpha).round().min(full)));
        }
    }
}
