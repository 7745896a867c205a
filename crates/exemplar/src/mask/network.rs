//! The salient-object network: from a picture to a coarse mask.
//!
//! A description (`models/mask.toml`, written by `training/` together with the weights) says how wide the stages are and how
//! pictures are brought to the network: squeezed to a square, divided by the largest value, normalised a channel.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use networks::Weights;
use networks::u2net::{StageWidths, U2Net, U2NetConfig};
use networks::weights::Memory;
use serde::Deserialize;

use super::afar;
use crate::Error;
use pixels::{Area, Kernel, Raster};

const DESCRIPTION: &str = include_str!("../../../../models/mask.toml");
const WEIGHTS: &[u8] = include_bytes!("../../../../models/mask.safetensors");

/// A network and its way of looking at pictures.
#[derive(Debug)]
pub(crate) struct MaskNetwork {
    network: U2Net,
    description: Description,
    device: Device,
}

/// The file around the description; the keys that document the weights' origin are read by people only.
#[derive(Deserialize)]
struct Document {
    mask: Description,
}

#[derive(Debug, Clone, Deserialize)]
struct Description {
    /// The weights' file, beside the description.
    file: String,
    /// Side of the network's square input, in pixels.
    input: usize,
    /// That of a second look, at the mirrored picture, and of a close one, at the subject; without it there is one look.
    again: Option<usize>,
    /// That of a look from farther away, for what is missing of a subject that leaves the picture; without it there is none.
    far: Option<usize>,
    divide_by: Divisor,
    mean: [f32; 3],
    std: [f32; 3],
    stages: BTreeMap<String, Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Divisor {
    /// The largest value in the picture.
    Max,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Stage {
    mid: usize,
    out: usize,
}

/// What the network sees in a picture: coarse maps of one channel.
#[derive(Debug)]
pub(crate) enum Sight {
    /// Something stands out: its mask, over the full range from 0 to 1.
    Clear(Raster),
    /// Nothing does: how much each place seemed to, 0 to 1.
    Faint(Raster),
}

/// Below this, the network is sure of nothing anywhere.
const LEAST_CERTAINTY: f32 = 0.5;

impl MaskNetwork {
    pub(crate) fn open(name: &str, device: &Device) -> Result<Self, Error> {
        if name == "embedded" {
            return Self::new(DESCRIPTION, "embedded", |_| Ok(WEIGHTS.to_vec()), device);
        }
        let path = Path::new(name);
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source });
        let text = String::from_utf8(read(path)?).map_err(|error| bad(name, &error))?;
        Self::new(&text, name, |file| read(&path.with_file_name(file)), device)
    }

    fn new(
        text: &str,
        origin: &str,
        weights: impl Fn(&str) -> Result<Vec<u8>, Error>,
        device: &Device,
    ) -> Result<Self, Error> {
        let Document { mask: description } = toml::from_str(text).map_err(|error| bad(origin, &error))?;
        let sides =
            [("input", Some(description.input)), ("again", description.again), ("far", description.far)];
        if let Some((key, side)) = sides.iter().find(|(_, s)| s.is_some_and(|s| !(32..=1024).contains(&s))) {
            let side = side.unwrap_or_default();
            return Err(bad(origin, &format!("mask.{key} is {side}; it must lie between 32 and 1024")));
        }
        let tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load_buffer(&weights(&description.file)?, &Device::Cpu)
                .map_err(|error| bad(origin, &error))?;
        let weights = Weights::new(description.file.clone(), Arc::new(Memory(tensors)), DType::F32, device);
        let network =
            U2Net::load(&description.widths(origin)?, &weights).map_err(|error| bad(origin, &error))?;
        Ok(Self { network, description, device: device.clone() })
    }

    /// What stands out in a picture.
    ///
    /// The mean of the answers to the picture and to its mirror image, at two sizes, is steadier than one answer; so is that
    /// of these two and a third, to a close look at where the subject then seems to be.
    pub(crate) fn look(&self, picture: &RgbImage) -> Result<Sight, Error> {
        let (picture, side) = (Raster::from_rgb(picture), self.description.input);
        let mut seen = self.answer(&picture, side)?;
        if let Some(again) = self.description.again {
            let other = self.answer(&mirrored(&picture), again)?;
            let other = mirrored(&other.resize(side, side, Kernel::Triangle));
            seen = seen.zip(&other, 1, |a, b, o| o[0] = (a[0] + b[0]) / 2.0);
        }
        let Some(whole) = stretched(&seen) else { return Ok(Sight::Faint(seen)) };
        let area = surroundings(&whole);
        let close_up = area.width * area.height * 10 < 9 * side * side;
        let Some(again) = self.description.again.filter(|_| close_up) else {
            return self.completed(&picture, whole).map(Sight::Clear);
        };
        let close = self.answer(&picture.crop(scaled(area, side, &picture)), again)?;
        let close = close.resize(area.width, area.height, Kernel::Triangle);
        for (y, row) in close.data.chunks_exact(area.width).enumerate() {
            let to = &mut seen.data[(area.y + y) * side + area.x..][..area.width];
            to.iter_mut().zip(row).for_each(|(o, v)| *o = (2.0 * *o + v) / 3.0);
        }
        match stretched(&seen) {
            Some(whole) => self.completed(&picture, whole).map(Sight::Clear),
            None => Ok(Sight::Faint(seen)),
        }
    }

    /// A mask with what a look from farther away adds to it.
    fn completed(&self, picture: &Raster, whole: Raster) -> Result<Raster, Error> {
        let Some(far) = self.description.far.filter(|_| afar::leaves(&whole)) else { return Ok(whole) };
        let (w, h) = (whole.width, whole.height);
        let Some(far) = stretched(&self.answer(picture, far)?) else { return Ok(whole) };
        Ok(afar::completed(
            &picture.resize(w, h, Kernel::Triangle),
            &whole,
            &far.resize(w, h, Kernel::Triangle),
        ))
    }

    /// The network's map of a picture, stretched to a square of `side` pixels. All black tells it nothing, and gives zeros.
    fn answer(&self, picture: &Raster, side: usize) -> Result<Raster, Error> {
        let square = picture.resize(side, side, Kernel::Lanczos);
        let divisor = match self.description.divide_by {
            Divisor::Max => square.data.iter().copied().fold(0.0, f32::max),
        };
        if divisor <= 0.0 {
            return Ok(Raster::filled(side, side, 1, 0.0));
        }
        let Description { mean, std, .. } = self.description;
        let normal = square.map(3, |p, o| {
            for (c, o) in o.iter_mut().enumerate() {
                *o = (p[c].clamp(0.0, 1.0) / divisor - mean[c]) / std[c];
            }
        });
        let x = Tensor::from_vec(normal.data, (1, side, side, 3), &Device::Cpu)?;
        let x = x.permute((0, 3, 1, 2))?.contiguous()?.to_device(&self.device)?;
        let d0 = self.network.forward(&x).map_err(|error| Error::Compute(candle_core::Error::wrap(error)))?;
        Ok(Raster { width: side, height: side, channels: 1, data: d0.flatten_all()?.to_vec1()? })
    }
}

/// A map over its full range; `None` when it is sure of nothing.
fn stretched(map: &Raster) -> Option<Raster> {
    let least = map.data.iter().copied().fold(f32::INFINITY, f32::min);
    let most = map.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // `is_nan` hides in the comparison: a network gone wrong finds nothing.
    let sure = most >= LEAST_CERTAINTY && most - least > 0.1;
    sure.then(|| map.map(1, |v, o| o[0] = (v[0] - least) / (most - least)))
}

fn mirrored(picture: &Raster) -> Raster {
    let (mut out, c) = (picture.clone(), picture.channels);
    let rows = out.data.chunks_exact_mut(picture.width * c).zip(picture.data.chunks_exact(picture.width * c));
    for (to, from) in rows {
        to.chunks_exact_mut(c).zip(from.chunks_exact(c).rev()).for_each(|(o, p)| o.copy_from_slice(p));
    }
    out
}

/// Where a mask exceeds one half, with 15 % of its extent and a fortieth of the picture around.
fn surroundings(mask: &Raster) -> Area {
    let (w, h) = (mask.width, mask.height);
    let inside = |x: usize, y: usize| mask.data[y * w + x] > 0.5;
    let along = |length: usize, any: &dyn Fn(usize) -> bool| {
        let low = (0..length).find(|i| any(*i)).unwrap_or(0);
        let high = (0..length).rev().find(|i| any(*i)).map_or(length, |i| i + 1);
        let space = (high - low) * 3 / 20 + length / 40;
        (low.saturating_sub(space), (high + space).min(length))
    };
    let (left, right) = along(w, &|x| (0..h).any(|y| inside(x, y)));
    let (top, bottom) = along(h, &|y| (0..w).any(|x| inside(x, y)));
    Area { x: left, y: top, width: right - left, height: bottom - top }
}

/// An area of the square of `side` pixels, in the pixels of the picture.
fn scaled(area: Area, side: usize, picture: &Raster) -> Area {
    let along = |start: usize, length: usize, whole: usize| {
        let at = |v: usize| (v * whole + side / 2) / side;
        (at(start), (at(start + length) - at(start)).max(1))
    };
    let ((x, width), (y, height)) =
        (along(area.x, area.width, picture.width), along(area.y, area.height, picture.height));
    Area { x, y, width, height }
}

impl Description {
    fn widths(&self, origin: &str) -> Result<U2NetConfig, Error> {
        let stage = |name: &str| {
            let Stage { mid, out } = *self
                .stages
                .get(name)
                .ok_or_else(|| bad(origin, &format!("mask.stages.{name} is missing")))?;
            Ok::<_, Error>(StageWidths { mid, out })
        };
        Ok(U2NetConfig {
            encoder: [
                stage("stage1")?,
                stage("stage2")?,
                stage("stage3")?,
                stage("stage4")?,
                stage("stage5")?,
                stage("stage6")?,
            ],
            decoder: [
                stage("stage5d")?,
                stage("stage4d")?,
                stage("stage3d")?,
                stage("stage2d")?,
                stage("stage1d")?,
            ],
        })
    }
}

fn bad(origin: &str, what: &dyn std::fmt::Display) -> Error {
    Error::Profile(format!("mask network {origin}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(network: &MaskNetwork, picture: &RgbImage) -> Raster {
        match network.look(picture).expect("computes") {
            Sight::Clear(mask) => mask,
            Sight::Faint(_) => panic!("nothing stands out"),
        }
    }

    #[test]
    fn a_description_without_a_stage_or_with_wrong_widths_is_refused_by_name() {
        let refused = |text: &str| {
            MaskNetwork::new(text, "test", |_| Ok(WEIGHTS.to_vec()), &Device::Cpu)
                .expect_err("refused")
                .to_string()
        };
        assert!(refused(&DESCRIPTION.replace("stage5d ", "stage5x ")).contains("mask.stages.stage5d"));
        assert!(refused(&DESCRIPTION.replacen("out = 16", "out = 17", 1)).contains("stage2"));
        assert!(refused(&DESCRIPTION.replace("again = 256", "again = 8")).contains("mask.again is 8"));
        assert!(refused("nonsense").contains("mask network test"));
        assert!(matches!(MaskNetwork::open("no/such.toml", &Device::Cpu), Err(Error::File { .. })));
    }

    #[test]
    fn a_bright_disc_on_a_dark_ground_stands_out() {
        let network = MaskNetwork::open("embedded", &Device::Cpu).expect("embedded");
        let picture = RgbImage::from_fn(200, 160, |x, y| {
            let (dx, dy) = (f64::from(x) - 100.0, f64::from(y) - 80.0);
            let r = dx.hypot(dy);
            if r < 45.0 {
                image::Rgb([(230.0 - r) as u8, (120.0 - r) as u8, 30])
            } else {
                image::Rgb([40 + (x / 10) as u8, 60, 70 + (y / 8) as u8])
            }
        });
        let mask = clear(&network, &picture);
        let side = mask.width;
        assert!(mask.pixel(side / 2, side / 2)[0] > mask.pixel(side / 20, side / 20)[0] + 0.5);
    }

    #[test]
    fn the_golden_of_the_training_scripts_is_met() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/mask/mask_golden.safetensors");
        let golden = candle_core::safetensors::load(path, &Device::Cpu).expect("golden");
        let network = MaskNetwork::open("embedded", &Device::Cpu).expect("embedded");
        let values =
            |name: &str| golden[name].flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        let worst = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let d0 = network.network.forward(&golden["input"]).and_then(|d| Ok(d.flatten_all()?.to_vec1()?));
        assert!(worst(&d0.expect("computes"), &values("d0")) < 2e-3);
        // Lanczos in whole bytes there, in fractions here.
        let (h, w, _) = golden["picture"].dims3().expect("a picture");
        let bytes = golden["picture"].flatten_all().and_then(|t| t.to_vec1::<u8>()).expect("bytes");
        let picture = RgbImage::from_raw(w as u32, h as u32, bytes).expect("a picture");
        let mask = clear(&network, &picture);
        let bytes = golden["mask"].flatten_all().and_then(|t| t.to_vec1::<u8>()).expect("bytes");
        assert_eq!(bytes.len(), mask.pixels());
        let far = mask.data.iter().zip(bytes).map(|(a, b)| (f64::from(*a) - f64::from(b) / 255.0).abs());
        assert!(far.sum::<f64>() / (mask.pixels() as f64) < 0.01);
    }

    #[test]
    fn an_area_around_a_blot_reaches_beyond_it_and_stays_inside() {
        let mut mask = Raster::filled(320, 320, 1, 0.0);
        for y in 10..60 {
            mask.data[y * 320 + 100..][..100].fill(0.9);
        }
        let area = surroundings(&mask);
        assert_eq!(area, Area { x: 77, y: 0, width: 146, height: 75 });
        let picture = Raster::filled(640, 160, 3, 0.0);
        assert_eq!(scaled(area, 320, &picture), Area { x: 154, y: 0, width: 292, height: 38 });
        let whole = Raster::filled(320, 320, 1, 1.0);
        assert_eq!(surroundings(&whole), Area { x: 0, y: 0, width: 320, height: 320 });
    }
}
