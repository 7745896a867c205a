//! From whatever colours a file holds to 8-bit sRGB.
//!
//! A usable ICC profile decides; without one grey, RGB and 16-bit samples are taken as sRGB-encoded already and inks are
//! mixed by multiplication. Profiles that describe another kind of colour than the file holds are ignored, and so are
//! those that change nothing, so that an sRGB file keeps its bytes.

use std::sync::Arc;

use image::{DynamicImage, GrayImage, RgbImage};
use moxcms::{CmsError, ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};
use rayon::prelude::*;

/// Pixels as a decoder left them.
pub(super) enum Pixels {
    /// Grey or RGB, with or without alpha, of any sample type.
    Light(DynamicImage),
    /// Amounts of ink (0 none, 255 full), height × width × 4.
    Cmyk { width: u32, height: u32, inks: Vec<u8> },
}

/// The sRGB picture and its alpha channel, unless that is opaque everywhere. `None` if buffer and size disagree.
pub(super) fn to_srgb(pixels: Pixels, icc: Option<&[u8]>) -> Option<(RgbImage, Option<GrayImage>)> {
    let profile = icc.and_then(|icc| ColorProfile::new_from_slice(icc).ok());
    let profile = profile.as_ref();
    let (width, height) = match &pixels {
        Pixels::Light(image) => (image.width(), image.height()),
        Pixels::Cmyk { width, height, .. } => (*width, *height),
    };
    let (rgb, alpha) = match pixels {
        Pixels::Cmyk { inks, .. } => (convert(&inks, 4, width, profile), None),
        Pixels::Light(image) => match image {
            DynamicImage::ImageLuma8(image) => (convert(&image, 1, width, profile), None),
            DynamicImage::ImageRgb8(image) => (convert(&image, 3, width, profile), None),
            DynamicImage::ImageLumaA8(image) => convert_with_alpha(&image, 1, width, profile),
            DynamicImage::ImageRgba8(image) => convert_with_alpha(&image, 3, width, profile),
            DynamicImage::ImageLuma16(image) => (convert(&image, 1, width, profile), None),
            DynamicImage::ImageRgb16(image) => (convert(&image, 3, width, profile), None),
            DynamicImage::ImageLumaA16(image) => convert_with_alpha(&image, 1, width, profile),
            other => convert_with_alpha(&other.into_rgba16(), 3, width, profile),
        },
    };
    let alpha = match alpha {
        Some(alpha) if alpha.iter().any(|&value| value != u8::MAX) => {
            Some(GrayImage::from_raw(width, height, alpha)?)
        }
        _ => None,
    };
    Some((RgbImage::from_raw(width, height, rgb)?, alpha))
}

/// Splits the last channel off and converts the others.
fn convert_with_alpha<T: Sample>(
    samples: &[T],
    colours: usize,
    width: u32,
    profile: Option<&ColorProfile>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let pixels = samples.par_chunks_exact(colours + 1);
    let alpha = pixels.clone().map(|pixel| pixel[colours].to_u8()).collect();
    let colour: Vec<T> = pixels.flat_map_iter(|pixel| pixel[..colours].iter().copied()).collect();
    (convert(&colour, colours, width, profile), Some(alpha))
}

/// Height × width × `channels` (1 grey, 3 RGB, 4 inks) to height × width × 3 in sRGB.
fn convert<T: Sample>(samples: &[T], channels: usize, width: u32, profile: Option<&ColorProfile>) -> Vec<u8> {
    let transform = profile.and_then(|profile| useful_transform::<T>(profile, channels));
    let width = width as usize;
    let mut rgb = vec![0; samples.len() / channels * 3];
    let rows = rgb.par_chunks_mut(width * 3).zip(samples.par_chunks(width * channels));
    rows.for_each(|(to, from)| match &transform {
        Some(transform) => transform.apply(from, to),
        None => plain(from, channels, to),
    });
    rgb
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
