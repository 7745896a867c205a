//! 3×3 convolution at stride 1 and padding 1 by Winograd's minimal filtering: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A (Lavin and Gray
//! 2016).
//!
//! | tile size | window d | products for each pair of channels and 4×4 pixels | rounding with 320 channels, relative in L2 |
//! | --- | --- | --- | --- |
//! | F(4×4, 3×3) | 6×6 | 36 | 2.2e-6 |
//! | F(2×2, 3×3) | 4×4 | 4 · 16 | 3.3e-7 |
//! | direct sum | | 144 | 3.3e-7 |
//!
//! Summed over input channels, product e of all tiles is a matrix product (out × in)·(in × tiles).
//!
//! Transformed weights would take four times the memory of the weights (3.8 GB more for the SDXL UNet) and, at 16 × 16
//! pixels, longer to read than to make. So they are never kept: each task transforms the block it is about to use
//! (channels × [`KC`] × products, in its L2 cache) and applies it to all tiles of the current step. The transformation costs
//! about 60 operations a weight pair against 72 · tiles for the products, so about 1 % at 64 tiles of a step and more.
//!
//! A step works on some rows of 4×4 pixels. Of large pictures each thread takes steps of its own. Of small ones all threads
//! share a step: they transform its windows into one buffer, then take blocks of output channels.

mod matrices;
mod transform;

use std::array;
use std::ops::Range;

use super::epilogue::Epilogue;
use super::geometry::Geometry;
use super::microkernel::Microkernel;
use super::pack::{Packed, Space};
use super::parallel;
use super::planes::Planes;
use super::scratch::{Output, Shared, lease};
use transform::{Target, transform_products, transform_weights, transform_windows};

/// Taps of the window.
const TAPS: usize = 9;
/// Products of the tiles of a step, for each output channel of a task.
const STEP: usize = 36 * 96;
/// Values of a step's transformed windows (12 MiB), which the L3 cache should hold, unless this is too few tiles.
const WINDOWS: usize = 3 << 20;
/// Fewest tiles of a step (where there are as many).
const FEWEST: usize = 64;
/// Output channels of a task: their transformed weights are 36 · 24 · [`KC`] values, 378 KiB of the L2 cache.
const CHANNELS: usize = 24;
/// Input channels whose transformed weights a task holds at a time.
const KC: usize = 112;

/// Channels from which F(4×4) pays, and F(2×2): below them the transformations cost more than the products saved.
const ENOUGH_FOR_FOUR: usize = 128;
const ENOUGH_FOR_TWO: usize = 32;
/// Fewest pixels that make enough tiles for a panel.
const ENOUGH_PIXELS: usize = 64;

/// F(m×m, 3×3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TileSize {
    Two,
    Four,
}

impl TileSize {
    /// The tile size that pays, if any: enough channels on both sides for the products to outweigh the transformations. An
    /// `exact` sum may be rounded no more than a direct one.
    pub(crate) fn choose(geometry: &Geometry, exact: bool) -> Option<Self> {
        let fits = (geometry.kernel_height, geometry.kernel_width) == (3, 3)
            && (geometry.stride, geometry.padding, geometry.dilation) == (1, 1, 1)
            && (geometry.out_height, geometry.out_width) == (geometry.height, geometry.width)
            && geometry.height * geometry.width >= ENOUGH_PIXELS;
        match geometry.input.min(geometry.output) {
            ENOUGH_FOR_FOUR.. if fits && !exact => Some(TileSize::Four),
            ENOUGH_FOR_TWO.. if fits => Some(TileSize::Two),
            _ => None,
        }
    }

    /// Tiles along one side of 4×4 pixels.
    fn tiles(self) -> usize {
        match self {
            TileSize::Two => 2,
            TileSize::Four => 1,
        }
    }

    /// Products of a tile.
    fn products(self) -> usize {
        match self {
            TileSize::Two => 16,
            TileSize::Four => 36,
        }
    }
}

/// `x` (b, in, h, w), or half as high and wide if it is to be `upsampled` first, → (b, out, h, w); `weight` packed as for the
/// implicit product. The row bias is (out), or (b, out).
#[allow(unsafe_code)]
pub(crate) fn convolve(
    tile_size: TileSize,
    microkernel: &Microkernel,
    x: Source<'_>,
    weight: &Packed,
    geometry: &Geometry,
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let across = geometry.width.div_ceil(4);
    let rows = geometry.batch * geometry.height.div_ceil(4);
    let row_tiles = across * tile_size.tiles() * tile_size.tiles();
    let products = tile_size.products();
    let tiles = (WINDOWS / (products * geometry.input)).clamp(FEWEST, STEP / products);
    let step = parallel::even(rows, (tiles / row_tiles).max(1), 1);
    let mut output = Output::new(geometry.batch * geometry.output * geometry.height * geometry.width);
    let job = Job { tile_size, microkernel, x, weight, geometry, epilogue, out: output.shared() };
    let steps = rows.div_ceil(step);
    let alone = steps >= 4 * parallel::threads();
    let run = |number: usize| {
        let rows = (number * step, ((number + 1) * step).min(rows));
        let panels = ((rows.1 - rows.0) * row_tiles).div_ceil(microkernel.nr);
        job.step(Part { rows, across, panels, nr: microkernel.nr }, alone);
    };
    if alone {
        parallel::each(steps, run);
    } else {
        (0..steps).for_each(run);
    }
    // SAFETY: the steps cover all rows of tiles, each all channels, and each tile is written to the picture's edge.
    unsafe { output.finish() }
}

/// What is convolved.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) planes: &'a Planes<'a>,
    /// Whether every value stands for 2×2 pixels: nearest-neighbour upsampling, done row by row in the cache.
    pub(crate) upsampled: bool,
}

/// The rows of 4×4 pixels of one step, counted through all images, and the shape of their buffers.
#[derive(Clone, Copy)]
struct Part {
    rows: (usize, usize),
    /// Such squares in a row.
    across: usize,
    /// Panels of tiles of a step, and their lanes.
    panels: usize,
    nr: usize,
}

/// One convolution.
struct Job<'a> {
    tile_size: TileSize,
    microkernel: &'a Microkernel,
    x: Source<'a>,
    weight: &'a Packed,
    geometry: &'a Geometry,
    epilogue: Epilogue<'a>,
    out: Shared,
}

impl Job<'_> {
    /// One step, on the calling thread `alone` or over all.
    fn step(&self, part: Part, alone: bool) {
        let each = |tasks: usize, work: &(dyn Fn(usize) + Sync)| {
            if alone { (0..tasks).for_each(work) } else { parallel::each(tasks, work) }
        };
        let (geometry, mr) = (self.geometry, self.microkernel.mr);
        let mut windows = lease(self.tile_size.products() * part.panels * geometry.input * part.nr);
        let windows = Shared::of(&mut windows);
        // A few channels a task: planes of a picture are far apart.
        const RUN: usize = 8;
        each(geometry.input.div_ceil(RUN), &|task| {
            let channels = (task * RUN, ((task + 1) * RUN).min(geometry.input));
            transform_windows(self.microkernel, self.tile_size, self.x, geometry, part, channels, windows);
        });
        let out_panels = geometry.output.div_ceil(mr);
        // Of the numbers of panels that leave threads idle for the shortest time, the largest.
        let threads = if alone { 1 } else { parallel::threads() };
        let idle = |per_task: &usize| out_panels.div_ceil(*per_task).div_ceil(threads) * per_task;
        let per_task = (1..=(CHANNELS / mr).max(1)).rev().min_by_key(idle).unwrap_or(1);
        each(out_panels.div_ceil(per_task), &|task| {
            let own = task * per_task..((task + 1) * per_task).min(out_panels);
            self.channels(part, own, windows);
        });
    }

    /// Some panels of output channels of one step, on one thread.
    #[allow(unsafe_code)]
    fn channels(&self, part: Part, own: Range<usize>, windows: Shared) {
        let (microkernel, geometry, products) = (self.microkernel, self.geometry, self.tile_size.products());
        let (mr, nr) = (microkernel.mr, microkernel.nr);
        let ldm = part.panels * nr;
        let kc = parallel::even(geometry.input, KC, 4);
        let mut u = lease(products * own.len() * kc * mr);
        let mut m = lease(products * own.len() * mr * ldm);
        let mut widened = Space::default();
        for k0 in (0..geometry.input).step_by(kc) {
            let len = kc.min(geometry.input - k0);
            for (i, panel) in own.clone().enumerate() {
                let taps: [Range<usize>; TAPS] =
                    array::from_fn(|tap| tap * geometry.input + k0..tap * geometry.input + k0 + len);
                let taps = self.weight.runs(microkernel, panel, taps, &mut widened);
                transform_weights(
                    microkernel,
                    self.tile_size,
                    taps,
                    &mut u[i * len * mr..],
                    own.len() * len * mr,
                );
            }
            for e in 0..products {
                for j in 0..part.panels {
                    let b = windows.at(((e * part.panels + j) * geometry.input + k0) * nr);
                    for i in 0..own.len() {
                        let a = &u[(e * own.len() + i) * len * mr..][..len * mr];
                        let c = &mut m[(e * own.len() + i) * mr * ldm + j * nr..][..(mr - 1) * ldm + nr];
                        // SAFETY: the slices hold len·mr values and mr rows of nr, ldm apart; `b` is a panel of the
                        // windows, which nobody writes meanwhile.
                        unsafe { microkernel.tile(mr, len, (a.as_ptr(), b), (c.as_mut_ptr(), ldm), k0 > 0) };
                    }
                }
            }
        }
        for channel in own.start * mr..(own.end * mr).min(geometry.output) {
            let row = (channel - own.start * mr) * ldm;
            let to = Target { out: self.out, channel, epilogue: self.epilogue };
            transform_products(
                microkernel,
                self.tile_size,
                &m[row..],
                own.len() * mr * ldm,
                geometry,
                part,
                to,
            );
        }
    }
}
