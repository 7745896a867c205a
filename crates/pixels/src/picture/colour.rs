//! From whatever colours a file holds to 8-bit sRGB.
//!
//! A usable ICC profile decides; without one grey, RGB and 16-bit samples are taken as sRGB-encoded already and inks are
//! mixed by multiplication. Profiles that describe another kind of colour than the file holds are ignored, and so are
//! those that change nothing, so that an sRGB file keeps its bytes.

use std::sync::Arc;

use image::{ColorType, GrayImage, RgbImage};
use moxcms::{CmsError, ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};
use rayon::prelude::*;

/// Rows that are converted together, in bytes of sRGB: enough for all cores, and little beside any picture.
const BAND: usize = 1 << 20;

/// Pixels as a decoder left them: rows from the top, samples in the machine's byte order.
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// What a pixel consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// 1 grey, 3 RGB, 4 amounts of ink (0 none, full at the largest value).
    pub(super) colours: usize,
    pub(super) alpha: bool,
    pub(super) depth: Depth,
}

/// The type of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    U8,
    U16,
    /// Nominally 0 to 1.
    F32,
}

impl Kind {
    /// What the decoders of `image` call it; `None` for kinds that they do not have.
    pub(super) fn of(colour: ColorType) -> Option<Self> {
        let (colours, alpha, depth) = match colour {
            ColorType::L8 => (1, false, Depth::U8),
            ColorType::La8 => (1, true, Depth::U8),
            ColorType::Rgb8 => (3, false, Depth::U8),
            ColorType::Rgba8 => (3, true, Depth::U8),
            ColorType::L16 => (1, false, Depth::U16),
            ColorType::La16 => (1, true, Depth::U16),
            ColorType::Rgb16 => (3, false, Depth::U16),
            ColorType::Rgba16 => (3, true, Depth::U16),
            ColorType::Rgb32F => (3, false, Depth::F32),
            ColorType::Rgba32F => (3, true, Depth::F32),
            _ => return None,
        };
        Some(Self { colours, alpha, depth })
    }

    /// Bytes of a pixel.
    pub(super) fn size(self) -> usize {
        let sample = match self.depth {
            Depth::U8 => 1,
            Depth::U16 => 2,
            Depth::F32 => 4,
        };
        (self.colours + usize::from(self.alpha)) * sample
    }
}

/// The sRGB picture and its alpha channel, unless that is opaque everywhere. `None` if buffer and size disagree.
///
/// A band of rows at a time: beside what the decoder left, at most the result is held, and where its pixels are no smaller
/// than three bytes not even that, as each band takes the place of what it was made from.
pub(super) fn to_srgb(pixels: Pixels, icc: Option<&[u8]>) -> Option<(RgbImage, Option<GrayImage>)> {
    let profile = icc.and_then(|icc| ColorProfile::new_from_slice(icc).ok());
    let profile = profile.as_ref();
    let Pixels { width, height, kind, bytes } = pixels;
    let count = usize::try_from(u64::from(width) * u64::from(height)).ok()?;
    if count == 0 || bytes.len() != count.checked_mul(kind.size())? {
        return None;
    }
    let (rgb, alpha) = match kind.depth {
        Depth::U8 => converted::<u8>(bytes, kind, width as usize, profile),
        Depth::U16 => converted::<u16>(bytes, kind, width as usize, profile),
        Depth::F32 => converted::<Unit>(bytes, kind, width as usize, profile),
    };
    let alpha = match alpha {
        Some(alpha) if alpha.iter().any(|&value| value != u8::MAX) => {
            Some(GrayImage::from_raw(width, height, alpha)?)
        }
        _ => None,
    };
    Some((RgbImage::from_raw(width, height, rgb)?, alpha))
}

/// Height × width × 3 in sRGB, and height × width of alpha if the kind has it.
fn converted<S: Stored>(
    mut bytes: Vec<u8>,
    kind: Kind,
    width: usize,
    profile: Option<&ColorProfile>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let transform = profile.and_then(|profile| useful_transform::<S::Sample>(profile, kind.colours));
    if kind == (Kind { colours: 3, alpha: false, depth: Depth::U8 }) && transform.is_none() {
        return (bytes, None);
    }
    let (row, rgb_row) = (width * kind.size(), width * 3);
    let height = bytes.len() / row;
    let in_place = kind.size() >= 3;
    let mut apart = if in_place { Vec::new() } else { vec![0; height * rgb_row] };
    let mut alpha = kind.alpha.then(|| vec![0; height * width]);
    let rows = (BAND / rgb_row).max(1);
    let mut band = vec![0; rows * rgb_row];
    for top in (0..height).step_by(rows) {
        let bottom = (top + rows).min(height);
        let band = &mut band[..(bottom - top) * rgb_row];
        let from = bytes[top * row..bottom * row].par_chunks_exact(row);
        let to = band.par_chunks_exact_mut(rgb_row);
        match &mut alpha {
            None => to
                .zip(from)
                .for_each(|(to, from)| convert_row::<S>(from, kind, transform.as_ref(), to, &mut [])),
            Some(alpha) => {
                let alpha = alpha[top * width..bottom * width].par_chunks_exact_mut(width);
                to.zip(from).zip(alpha).for_each(|((to, from), alpha)| {
                    convert_row::<S>(from, kind, transform.as_ref(), to, alpha);
                });
            }
        }
        // In place this ends no further down than the rows that have just been read.
        let place = top * rgb_row..bottom * rgb_row;
        if in_place { &mut bytes[place] } else { &mut apart[place] }.copy_from_slice(band);
    }
    if in_place {
        bytes.truncate(height * rgb_row);
        bytes.shrink_to_fit();
        return (bytes, alpha);
    }
    (apart, alpha)
}

/// One row: the last channel goes to `alpha` (empty if there is none), the others become sRGB.
fn convert_row<S: Stored>(
    from: &[u8],
    kind: Kind,
    transform: Option<&ToSrgb<S::Sample>>,
    to: &mut [u8],
    alpha: &mut [u8],
) {
    let pixels = from.chunks_exact(kind.size());
    let sample_size = kind.size() / (kind.colours + usize::from(kind.alpha));
    let mut colours = Vec::with_capacity(pixels.len() * kind.colours);
    for pixel in pixels.clone() {
        colours.extend(pixel.chunks_exact(sample_size).take(kind.colours).map(S::sample));
    }
    for (alpha, pixel) in alpha.iter_mut().zip(pixels) {
        *alpha = S::sample(&pixel[kind.colours * sample_size..]).to_u8();
    }
    match transform {
        Some(transform) => transform.apply(&colours, to),
        None => plain(&colours, kind.colours, to),
    }
}

/// A sample as it lies in the decoder's bytes, and the type it is reckoned in.
trait Stored {
    type Sample: Sample;
    fn sample(bytes: &[u8]) -> Self::Sample;
}

impl Stored for u8 {
    type Sample = u8;

    fn sample(bytes: &[u8]) -> u8 {
        bytes.first().copied().unwrap_or_default()
    }
}

impl Stored for u16 {
    type Sample = u16;

    fn sample(bytes: &[u8]) -> u16 {
        bytes.try_into().map(u16::from_ne_bytes).unwrap_or_default()
    }
}

/// Floating-point samples, 0 to 1; reckoned in 16 bits.
struct Unit;

impl Stored for Unit {
    type Sample = u16;

    fn sample(bytes: &[u8]) -> u16 {
        let value = bytes.try_into().map(f32::from_ne_bytes).unwrap_or_default();
        // Out of range saturates; what is no number becomes 0.
        (value * f32::from(u16::MAX)).round() as u16
    }
}

/// The conversion without a profile, and the definition that a profile without effect is recognised by.
fn plain<T: Sample>(from: &[T], channels: usize, to: &mut [u8]) {
    for (to, from) in to.chunks_exact_mut(3).zip(from.chunks_exact(channels)) {
        match *from {
            [grey] => to.fill(grey.to_u8()),
            [red, green, blue] => to.copy_from_slice(&[red.to_u8(), green.to_u8(), blue.to_u8()]),
            [cyan, magenta, yellow, black] => {
                // What an ink lets through, times what the black over it lets through.
                let light = 255 - u32::from(black.to_u8());
                for (to, ink) in to.iter_mut().zip([cyan, magenta, yellow]) {
                    *to = (((255 - u32::from(ink.to_u8())) * light + 127) / 255) as u8;
                }
            }
            _ => {}
        }
    }
}

/// A profile's way to sRGB for pixels of a certain number of channels.
struct ToSrgb<T> {
    executor: Arc<dyn TransformExecutor<T> + Send + Sync>,
    /// Grey pixels under an RGB profile (common in JPEG): repeated three times first.
    spread_grey: bool,
}

impl<T: Sample> ToSrgb<T> {
    /// Converts whole pixels; on a profile that fails half-way the rest stays black, which no profile that parsed does.
    fn apply(&self, from: &[T], to: &mut [u8]) {
        let mut row = vec![T::default(); to.len()];
        let done = if self.spread_grey {
            let spread: Vec<T> = from.iter().flat_map(|&grey| [grey; 3]).collect();
            self.executor.transform(&spread, &mut row)
        } else {
            self.executor.transform(from, &mut row)
        };
        if done.is_ok() {
            to.iter_mut().zip(row).for_each(|(to, sample)| *to = sample.to_u8());
        }
    }
}

/// The transform from `profile` to sRGB, if the profile fits the channels and moves any colour by more than rounding does.
fn useful_transform<T: Sample>(profile: &ColorProfile, channels: usize) -> Option<ToSrgb<T>> {
    let (layout, spread_grey) = match (profile.color_space, channels) {
        (DataColorSpace::Gray, 1) => (Layout::Gray, false),
        (DataColorSpace::Rgb, 1) => (Layout::Rgb, true),
        (DataColorSpace::Rgb, 3) => (Layout::Rgb, false),
        (DataColorSpace::Cmyk, 4) => (Layout::Rgba, false),
        _ => return None,
    };
    let executor = T::executor(profile, layout).ok()?;
    let transform = ToSrgb { executor, spread_grey };
    let probe = lattice::<T>(channels);
    let mut plainly = vec![0; probe.len() / channels * 3];
    let mut managed = plainly.clone();
    plain(&probe, channels, &mut plainly);
    transform.apply(&probe, &mut managed);
    let differs = plainly.iter().zip(&managed).any(|(plain, managed)| plain.abs_diff(*managed) > 1);
    differs.then_some(transform)
}

/// Pixels all over the colour space: 17 levels a channel for up to three channels, 5 for inks.
fn lattice<T: Sample>(channels: usize) -> Vec<T> {
    let levels: usize = if channels == 4 { 5 } else { 17 };
    let pixels = 0..levels.pow(channels as u32);
    let digit = |pixel: usize, place: usize| pixel / levels.pow(place as u32) % levels;
    pixels
        .flat_map(|pixel| {
            (0..channels).map(move |place| T::from_u8((digit(pixel, place) * 255 / (levels - 1)) as u8))
        })
        .collect()
}

/// A sample type that decoders deliver.
trait Sample: Copy + Default + Send + Sync + 'static {
    fn to_u8(self) -> u8;
    fn from_u8(value: u8) -> Self;
    fn executor(
        profile: &ColorProfile,
        layout: Layout,
    ) -> Result<Arc<dyn TransformExecutor<Self> + Send + Sync>, CmsError>;
}

impl Sample for u8 {
    fn to_u8(self) -> u8 {
        self
    }

    fn from_u8(value: u8) -> Self {
        value
    }

    fn executor(
        profile: &ColorProfile,
        layout: Layout,
    ) -> Result<Arc<dyn TransformExecutor<Self> + Send + Sync>, CmsError> {
        profile.create_transform_8bit(
            layout,
            &ColorProfile::new_srgb(),
            Layout::Rgb,
            TransformOptions::default(),
        )
    }
}

impl Sample for u16 {
    fn to_u8(self) -> u8 {
        // 65535 / 255 = 257; the half rounds. At most 255 by construction.
        ((u32::from(self) + 128) / 257) as u8
    }

    fn from_u8(value: u8) -> Self {
        Self::from(value) * 257
    }

    fn executor(
        profile: &ColorProfile,
        layout: Layout,
    ) -> Result<Arc<dyn TransformExecutor<Self> + Send + Sync>, CmsError> {
        profile.create_transform_16bit(
            layout,
            &ColorProfile::new_srgb(),
            Layout::Rgb,
            TransformOptions::default(),
        )
    }
}
