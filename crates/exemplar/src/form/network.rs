//! The form of a subject by a network: normals, light, and how sure the normals are.
//!
//! The network ([`networks::form`]) is ours, inside the binary; `models/form.toml` says how it looks at pictures. It sees the
//! surroundings of the mask, so that every subject fills its view. Frame: x to the right, y down the rows, z towards the viewer.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use networks::Weights;
use networks::form::{FormConfig, FormNet, STRIDE, Surface};
use networks::weights::Memory;
use serde::Deserialize;

use crate::Error;
use pixels::{Kernel, Raster};

const DESCRIPTION: &str = include_str!("../../../../models/form.toml");
const WEIGHTS: &[u8] = include_bytes!("../../../../models/form.safetensors");

/// The mask exceeds this where the network is asked to look.
const PRESENT: f32 = 0.1;

/// Steps of the input beyond a whole number by no more than this are rounding.
const ROUNDING: f32 = 1e-4;

/// The network and its way of looking at pictures.
#[derive(Debug)]
pub(crate) struct FormNetwork {
    network: FormNet,
    description: Description,
    device: Device,
}

/// What the network says of every pixel of a picture. Where it did not look: normals face the viewer, the rest is 0.
#[derive(Debug)]
pub(crate) struct SeenForm {
    /// Unit normals, three channels.
    pub(crate) normals: Raster,
    /// Natural logarithm of the light without the surface's own colour; its mean over the mask is 0.
    pub(crate) shading: Raster,
    /// How sure the normal is: 1 minus the expected error in right angles.
    pub(crate) confidence: Raster,
}

/// The file around the description; the keys that document the weights' origin are read by people only.
#[derive(Deserialize)]
struct Document {
    form: Description,
}

#[derive(Debug, Clone, Deserialize)]
struct Description {
    /// The longer side of the network's input, in pixels.
    input: usize,
    /// What is seen around the mask's extent, as a share of its longer side.
    margin: f32,
    /// Values of 0..1 become (v − mean) / deviation, in all four planes.
    mean: f32,
    deviation: f32,
    widths: [usize; 6],
    blocks: [usize; 5],
}

/// A part of the picture that the network sees: corner and size in pixels, and the sides of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    x: isize,
    y: isize,
    width: usize,
    height: usize,
    columns: usize,
    rows: usize,
}

impl FormNetwork {
    /// The embedded network.
    ///
    /// # Errors
    /// [`Error::Profile`] when the weights do not fit their description.
    pub(crate) fn embedded(device: &Device) -> Result<Self, Error> {
        let bad = |what: &dyn std::fmt::Display| Error::Profile(format!("form network: {what}"));
        let Document { form: description } = toml::from_str(DESCRIPTION).map_err(|error| bad(&error))?;
        let tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load_buffer(WEIGHTS, &Device::Cpu).map_err(|error| bad(&error))?;
        let weights = Weights::new("form.safetensors", Arc::new(Memory(tensors)), DType::F32, device);
        let config = FormConfig { widths: description.widths, blocks: description.blocks };
        let network = FormNet::load(&config, &weights).map_err(|error| bad(&error))?;
        Ok(Self { network, description, device: device.clone() })
    }

    /// What `picture` (RGB of 0..1) shows inside `mask` (one channel, the same size); `None` where the mask is empty.
    ///
    /// # Errors
    /// [`Error::Compute`].
    pub(crate) fn look(&self, picture: &Raster, mask: &Raster) -> Result<Option<SeenForm>, Error> {
        let Some(view) = self.view(mask) else { return Ok(None) };
        let Description { mean, deviation, .. } = self.description;
        let seen = |raster: &Raster| {
            let part = raster.window(view.x, view.y, view.width, view.height);
            part.resize(view.columns, view.rows, Kernel::Triangle)
        };
        let input = seen(picture).zip(&seen(mask), 4, |rgb, mask, o| {
            for (o, v) in o.iter_mut().zip(rgb.iter().chain(mask)) {
                *o = (v.clamp(0.0, 1.0) - mean) / deviation;
            }
        });
        let x = Tensor::from_vec(input.data, (1, view.rows, view.columns, 4), &Device::Cpu)?;
        let x = x.permute((0, 3, 1, 2))?.contiguous()?.to_device(&self.device)?;
        let surface =
            self.network.surface(&x).map_err(|error| Error::Compute(candle_core::Error::wrap(error)))?;
        let Surface { normal, shading, confidence, .. } = surface;
        let plane = |tensor: &Tensor, outside: &[f32]| placed(tensor, view, mask, outside);
        let normals = plane(&normal, &[0.0, 0.0, 1.0])?.map(3, |n, o| {
            let length = (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt().max(1e-6);
            o.iter_mut().zip(n).for_each(|(o, n)| *o = n / length);
        });
        let shading = plane(&shading, &[0.0])?;
        let level = shading.mean_within(mask)[0];
        let shading = shading.zip(mask, 1, |s, m, o| o[0] = if m[0] > 0.0 { s[0] - level } else { 0.0 });
        let confidence = plane(&confidence, &[0.0])?;
        Ok(Some(SeenForm { normals, shading, confidence }))
    }

    /// The mask's surroundings, widened until both sides of the input are multiples of the network's stride.
    fn view(&self, mask: &Raster) -> Option<View> {
        let inside = |x: usize, y: usize| mask.data[y * mask.width + x] > PRESENT;
        let top = (0..mask.height).find(|y| (0..mask.width).any(|x| inside(x, *y)))?;
        let bottom = (0..mask.height).rev().find(|y| (0..mask.width).any(|x| inside(x, *y)))? + 1;
        let left = (0..mask.width).find(|x| (top..bottom).any(|y| inside(*x, y)))?;
        let right = (0..mask.width).rev().find(|x| (top..bottom).any(|y| inside(*x, y)))? + 1;
        let (w, h) = ((right - left) as f32, (bottom - top) as f32);
        let space = 2.0 * self.description.margin * w.max(h);
        let longer = w.max(h) + space;
        // The input's sides in steps of the stride, and the view's in the same proportion.
        let steps = (self.description.input / STRIDE).max(1);
        let along = |length: f32| {
            let whole = ((length + space) / longer * steps as f32 - ROUNDING).ceil();
            whole.clamp(1.0, steps as f32)
        };
        let (across, down) = (along(w), along(h));
        let step = longer / steps as f32;
        let (width, height) = ((across * step).round().max(1.0), (down * step).round().max(1.0));
        let corner =
            |low: usize, high: usize, size: f32| ((low + high) as f32 / 2.0 - size / 2.0).round() as isize;
        Some(View {
            x: corner(left, right, width),
            y: corner(top, bottom, height),
            width: width as usize,
            height: height as usize,
            columns: across as usize * STRIDE,
            rows: down as usize * STRIDE,
        })
    }
}

/// Planes (1, c, rows, columns) of the view at their place in a raster of the mask's size.
fn placed(planes: &Tensor, view: View, mask: &Raster, outside: &[f32]) -> Result<Raster, Error> {
    let channels = outside.len();
    let data = planes.permute((0, 2, 3, 1))?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
    let seen = Raster { width: view.columns, height: view.rows, channels, data };
    let seen = seen.resize(view.width, view.height, Kernel::Triangle);
    let mut out = Raster::filled(mask.width, mask.height, channels, 0.0);
    for (i, o) in out.data.chunks_exact_mut(channels).enumerate() {
        let (x, y) = ((i % mask.width) as isize - view.x, (i / mask.width) as isize - view.y);
        let within = x >= 0 && y >= 0 && x < view.width as isize && y < view.height as isize;
        o.copy_from_slice(if within { seen.pixel(x as usize, y as usize) } else { outside });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> HashMap<String, Tensor> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/form/form_golden.safetensors");
        candle_core::safetensors::load(path, &Device::Cpu).expect("golden")
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        let tensor = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all());
        tensor.and_then(|t| t.to_vec1()).expect("values")
    }

    fn network() -> FormNetwork {
        FormNetwork::embedded(&Device::Cpu).expect("embedded")
    }

    /// The picture and the mask of the golden.
    fn scene(golden: &HashMap<String, Tensor>) -> (Raster, Raster) {
        let raster = |name: &str, channels: usize| {
            let dims = golden[name].dims();
            let data = values(&golden[name]).iter().map(|v| v / 255.0).collect();
            Raster { width: dims[1], height: dims[0], channels, data }
        };
        (raster("picture", 3), raster("mask", 1))
    }

    #[test]
    fn the_planes_are_those_of_the_training_scripts() {
        let golden = golden();
        let planes = network().network.forward(&golden["input"]).expect("computes");
        let (ours, theirs) = (values(&planes), values(&golden["planes"]));
        assert_eq!(ours.len(), theirs.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = theirs.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(worst < 1e-3 * largest.max(1.0), "{worst} of {largest}");
    }

    #[test]
    fn a_look_at_a_picture_is_that_of_the_training_scripts() {
        let golden = golden();
        let (picture, mask) = scene(&golden);
        let seen = network().look(&picture, &mask).expect("computes").expect("something is there");
        let pairs =
            [("normals", &seen.normals), ("shading", &seen.shading), ("confidence", &seen.confidence)];
        for (name, ours) in pairs {
            let theirs = values(&golden[name]);
            assert_eq!(ours.data.len(), theirs.len(), "{name}");
            let off: f32 = ours.data.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).sum();
            let mean = off / theirs.len() as f32;
            assert!(mean < 2e-3, "{name}: {mean}");
        }
    }

    #[test]
    fn a_mask_at_the_border_or_of_one_pixel_is_looked_at_and_an_empty_one_is_not() {
        let network = network();
        let picture = Raster::filled(70, 50, 3, 0.4);
        let mut mask = Raster::filled(70, 50, 1, 0.0);
        assert!(network.look(&picture, &mask).expect("computes").is_none());
        mask.data[0] = 1.0;
        let seen = network.look(&picture, &mask).expect("computes").expect("one pixel");
        assert_eq!((seen.normals.width, seen.normals.height, seen.normals.channels), (70, 50, 3));
        assert!(seen.normals.data.chunks_exact(3).all(|n| {
            let length = (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt();
            (length - 1.0).abs() < 1e-4
        }));
        mask.data[70 * 20..].fill(1.0);
        let seen = network.look(&picture, &mask).expect("computes").expect("a border");
        assert!(seen.confidence.data.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(seen.shading.mean_within(&mask)[0].abs() < 1e-4);
    }

    #[test]
    fn the_view_surrounds_the_mask_in_multiples_of_the_stride() {
        let network = network();
        let mut mask = Raster::filled(200, 100, 1, 0.0);
        for y in 30..80 {
            mask.data[y * 200 + 20..][..160].fill(1.0);
        }
        let view = network.view(&mask).expect("a view");
        assert_eq!((view.columns, view.rows), (256, 128));
        let scale = view.width as f32 / view.columns as f32;
        assert!((view.height as f32 / view.rows as f32 - scale).abs() < 0.01, "{view:?}");
        assert!(view.x <= 20 && view.x + view.width as isize >= 180, "{view:?}");
        assert!(view.y <= 30 && view.y + view.height as isize >= 80, "{view:?}");
    }
}
