//! Given masks: where the material goes, and which of several goes where.
//!
//! Each mask confines its material's image tokens in the layers that see them (as in diffusers' masks for IP-Adapter, but with
//! the mean over a position's pixels, so that odd offsets lose nothing); all of them together are the mask of the latent.

use candle_core::{Device, Result, Tensor};
use engine::given_mask;
use networks::unet::RegionMask;
use pixels::Raster;
use pixels::raster::Kernel;

use super::crop::{LATENT_CELL, Window};
use super::frame::Frame;
use super::{Plane, plane};
use crate::{Error, Picture, Pictures, Settings};

/// Feature maps become half as large so many times in SDXL's UNet.
const HALVINGS: u32 = 3;

/// The most of a mask. The reference's blurred masks stay below 1 by rounding, and at the first noise level the mask is to admit
/// no pixel.
pub(super) const SOLID: f32 = 1.0 - 1.0 / 4096.0;

/// The given masks of a transfer.
pub(super) struct Regions {
    /// Each where no later one lies on it: one channel, the size of the output.
    masks: Vec<Raster>,
}

impl Regions {
    /// `None` when no mask was given.
    ///
    /// # Errors
    /// [`Error::Unfit`] for a mask of another shape.
    pub(super) fn given(
        pictures: &Pictures<Picture>,
        frame: &Frame,
        settings: &Settings,
    ) -> std::result::Result<Option<Self>, Error> {
        let mut masks: Vec<Raster> = Vec::new();
        for region in pictures.regions() {
            let Some((name, mask)) = region.mask else { return Ok(None) };
            let mask = given_mask(name, mask, frame.size, settings)?;
            let mask = raster(frame.padded(&as_plane(mask)));
            for earlier in &mut masks {
                earlier.data.iter_mut().zip(&mask.data).for_each(|(e, m)| *e *= 1.0 - m);
            }
            masks.push(mask);
        }
        Ok((!masks.is_empty()).then_some(Self { masks }))
    }

    /// All of them as one mask.
    pub(super) fn union(&self) -> Plane {
        let (width, height) = (self.masks[0].width, self.masks[0].height);
        let sum = |at: usize| self.masks.iter().map(|mask| mask.data[at]).sum::<f32>().min(SOLID);
        plane(width as u32, height as u32, (0..width * height).map(sum))
    }

    /// Where each material counts, on the latent's window; `None` for a single one, which the latent's mask confines.
    ///
    /// # Errors
    /// Tensor errors.
    pub(super) fn of_materials(&self, device: &Device) -> networks::Result<Vec<Option<RegionMask>>> {
        if self.masks.len() == 1 {
            return Ok(vec![None]);
        }
        let masks = self.masks.iter().map(|mask| {
            let levels = levels(mask, device)?;
            RegionMask::new(&levels).map(Some)
        });
        masks.collect()
    }
}

/// One channel as a plane, and back.
fn as_plane(mask: Raster) -> Plane {
    plane(mask.width as u32, mask.height as u32, mask.data.into_iter())
}

fn raster(mask: Plane) -> Raster {
    Raster {
        width: mask.width() as usize,
        height: mask.height() as usize,
        channels: 1,
        data: mask.into_raw(),
    }
}

/// The mask at the sizes of the UNet's feature maps: (h, w) each.
fn levels(mask: &Raster, device: &Device) -> Result<Vec<Tensor>> {
    let window = Window::latent_grid((mask.width as u32, mask.height as u32));
    let part =
        mask.window(window.x as isize, window.y as isize, window.width as usize, window.height as usize);
    let latent = |side: u32| (side / LATENT_CELL) as usize;
    let (mut width, mut height) = (latent(window.width), latent(window.height));
    let mut levels = Vec::new();
    for _ in 0..=HALVINGS {
        let level = part.resize(width, height, Kernel::Box);
        levels.push(Tensor::from_vec(level.data, (height, width), device)?);
        (width, height) = (width.div_ceil(2), height.div_ceil(2));
    }
    Ok(levels)
}
