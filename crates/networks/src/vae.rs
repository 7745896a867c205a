//! SDXL's autoencoder (AutoencoderKL, Rombach et al. 2022): pictures to latents of an eighth of the size, and back.
//!
//! Pictures are (b, 3, h, w) in [−1, 1], h and w multiples of eight; latents (b, 4, h/8, w/8), unscaled. The one attention
//! layer is tiled, and [`Vae::decode_tiled`] decodes large latents in overlapping tiles, since a single full-size feature
//! map takes 3.8 GB at 1920². Tensor names are those of diffusers.

use candle_core::{DType, Tensor};
use kernels::{Conv2d, Linear, Norm};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Weights};

/// Epsilon of all group normalisations.
const EPS: f64 = 1e-6;

/// Dimensions of the autoencoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Width of the finest level.
    pub channels: usize,
    /// Width of every level, in multiples of `channels`; each level but the last halves the size.
    pub channel_mult: Vec<usize>,
    /// Residual blocks of a level in the encoder; one more in the decoder.
    pub res_blocks: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Groups of the group normalisations.
    #[serde(default = "thirty_two")]
    pub groups: usize,
}

fn thirty_two() -> usize {
    32
}

impl VaeConfig {
    /// SDXL's (and the fp16-fix's).
    pub fn sdxl() -> Self {
        Self { channels: 128, channel_mult: vec![1, 2, 4, 4], res_blocks: 2, latent_channels: 4, groups: 32 }
    }

    /// Pixels per latent pixel along an axis.
    pub fn factor(&self) -> usize {
        1 << (self.channel_mult.len() - 1)
    }

    fn widths(&self) -> Vec<usize> {
        self.channel_mult.iter().map(|mult| mult * self.channels).collect()
    }

    fn check(&self) -> Result<()> {
        let sound = !self.channel_mult.is_empty()
            && self.groups > 0
            && self.widths().iter().all(|width| *width > 0 && width % self.groups == 0);
        match sound {
            true => Ok(()),
            false => Err(Error::Config {
                network: "vae",
                reason: "channel_mult must not be empty and every width must be a multiple of groups"
                    .to_owned(),
            }),
        }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct Vae {
    factor: usize,
    latent_channels: usize,
    encoder: Encoder,
    quant: Conv2d,
    post_quant: Conv2d,
    decoder: Decoder,
}

/// A diagonal Gaussian over latents (b, 4, h, w).
#[derive(Clone, Debug)]
pub struct Posterior {
    /// Mean, the latent to use.
    pub mean: Tensor,
    /// Logarithm of the variance, within [−30, 20].
    pub logvar: Tensor,
}

impl Vae {
    /// Builds the network from tensors with diffusers' names.
    pub fn load(config: &VaeConfig, weights: &Weights) -> Result<Self> {
        config.check()?;
        let latent = config.latent_channels;
        let vae = Self {
            factor: config.factor(),
            latent_channels: latent,
            encoder: Encoder::load(config, &weights.at("encoder"))?,
            quant: weights.conv2d("quant_conv", 2 * latent, 2 * latent, 1)?,
            post_quant: weights.conv2d("post_quant_conv", latent, latent, 1)?,
            decoder: Decoder::load(config, &weights.at("decoder"))?,
        };
        weights.finish()?;
        Ok(vae)
    }

    /// The posterior of pictures (b, 3, h, w) in [−1, 1].
    pub fn encode(&self, pictures: &Tensor) -> Result<Posterior> {
        let (_, _, h, w) = pictures.dims4()?;
        if h % self.factor != 0 || w % self.factor != 0 || h == 0 || w == 0 {
            let reason =
                format!("a picture of {h} x {w} has no latent; crop it to multiples of {}", self.factor);
            return Err(Error::Config { network: "vae", reason });
        }
        let moments = kernels::conv2d(&self.encoder.forward(pictures)?, &self.quant)?.to_dtype(DType::F32)?;
        let half = |i| moments.narrow(1, i * self.latent_channels, self.latent_channels)?.contiguous();
        Ok(Posterior { mean: half(0)?, logvar: half(1)?.clamp(-30f32, 20f32)? })
    }

    /// The mean of [`Vae::encode`] of one picture (1, 3, h, w) in tiles of `tile` latent pixels that overlap by `overlap`,
    /// feathered linearly into each other. Equal to `encode` where one tile covers the latent.
    pub fn encode_tiled(&self, picture: &Tensor, tile: usize, overlap: usize) -> Result<Tensor> {
        let (_, _, height, width) = picture.dims4()?;
        let (h, w) = (height / self.factor, width / self.factor);
        if h <= tile && w <= tile {
            return Ok(self.encode(picture)?.mean);
        }
        let mut canvas = Canvas::new(self.latent_channels, h, w, overlap);
        for (y, x) in tiles((h, w), tile, overlap)? {
            let part = window(picture, (y, x), (tile.min(h), tile.min(w)), self.factor)?;
            canvas.add(&self.encode(&part)?.mean, y, x)?;
        }
        Ok(canvas.finish()?.to_device(picture.device())?)
    }

    /// Pictures (b, 3, 8h, 8w), nominally in [−1, 1] but not clamped, f32, of unscaled latents (b, 4, h, w).
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let x = kernels::conv2d(latents, &self.post_quant)?;
        Ok(self.decoder.forward(&x)?.to_dtype(DType::F32)?)
    }

    /// [`Vae::decode`] of one latent (1, 4, h, w) in tiles of `tile` latent pixels that overlap by `overlap`, feathered
    /// linearly into each other. Equal to `decode` where one tile covers the latent.
    pub fn decode_tiled(&self, latent: &Tensor, tile: usize, overlap: usize) -> Result<Tensor> {
        let (_, _, h, w) = latent.dims4()?;
        if h <= tile && w <= tile {
            return self.decode(latent);
        }
        let mut canvas = Canvas::new(3, h * self.factor, w * self.factor, overlap * self.factor);
        for (y, x) in tiles((h, w), tile, overlap)? {
            let part = window(latent, (y, x), (tile.min(h), tile.min(w)), 1)?;
            canvas.add(&self.decode(&part)?, y * self.factor, x * self.factor)?;
        }
        Ok(canvas.finish()?.to_device(latent.device())?)
    }
}

/// Top left corners of tiles that cover (height, width), row by row.
fn tiles((height, width): (usize, usize), tile: usize, overlap: usize) -> Result<Vec<(usize, usize)>> {
    if overlap >= tile {
        let reason = format!("tiles of {tile} cannot overlap by {overlap}");
        return Err(Error::Config { network: "vae", reason });
    }
    let columns = tile_starts(width, tile, overlap);
    let rows = tile_starts(height, tile, overlap);
    Ok(rows.into_iter().flat_map(|y| columns.iter().map(move |x| (y, *x))).collect())
}

/// The window of `x` (1, c, h, w) at (top, left) of (height, width), all in units of `unit` pixels.
fn window(
    x: &Tensor,
    (top, left): (usize, usize),
    (height, width): (usize, usize),
    unit: usize,
) -> Result<Tensor> {
    let rows = x.narrow(2, top * unit, height * unit)?;
    Ok(rows.narrow(3, left * unit, width * unit)?.contiguous()?)
}

/// First pixels of tiles that cover `length` and overlap by at least `overlap`, evenly spread.
fn tile_starts(length: usize, tile: usize, overlap: usize) -> Vec<usize> {
    let Some(rest) = length.checked_sub(tile).filter(|rest| *rest > 0) else { return vec![0] };
    let steps = rest.div_ceil(tile - overlap);
    (0..=steps).map(|i| i * rest / steps).collect()
}

/// A weighted sum of tiles.
struct Canvas {
    channels: usize,
    height: usize,
    width: usize,
    /// Pixels over which a tile's weight rises from its border.
    feather: usize,
    sum: Vec<f32>,
    weight: Vec<f32>,
}

impl Canvas {
    fn new(channels: usize, height: usize, width: usize, feather: usize) -> Self {
        let pixels = height * width;
        Self {
            channels,
            height,
            width,
            feather,
            sum: vec![0.0; channels * pixels],
            weight: vec![0.0; pixels],
        }
    }

    fn add(&mut self, tile: &Tensor, top: usize, left: usize) -> Result<()> {
        let (_, _, h, w) = tile.dims4()?;
        let values = tile.flatten_all()?.to_vec1::<f32>()?;
        // Never zero, so that a pixel with one tile only keeps that tile's value.
        let ramp = |i: usize, n: usize| ((i + 1).min(n - i) as f32 / (self.feather + 1) as f32).min(1.0);
        for y in 0..h {
            for x in 0..w {
                let weight = ramp(y, h) * ramp(x, w);
                let at = (top + y) * self.width + left + x;
                self.weight[at] += weight;
                for c in 0..self.channels {
                    self.sum[c * self.height * self.width + at] += weight * values[(c * h + y) * w + x];
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Tensor> {
        let pixels = self.height * self.width;
        for (i, value) in self.sum.iter_mut().enumerate() {
            *value /= self.weight[i % pixels];
        }
        Ok(Tensor::from_vec(
            self.sum,
            (1, self.channels, self.height, self.width),
            &candle_core::Device::Cpu,
        )?)
    }
}

#[derive(Clone, Debug)]
struct Encoder {
    conv_in: Conv2d,
    levels: Vec<(Vec<ResBlock>, Option<Conv2d>)>,
    mid: Middle,
    norm_out: Norm,
    conv_out: Conv2d,
    groups: usize,
}

impl Encoder {
    fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let widths = config.widths();
        let mut input = config.channels;
        let mut levels = Vec::new();
        for (level, width) in widths.iter().enumerate() {
            let w = w.at("down_blocks").at(level);
            let blocks = ResBlock::chain(config, config.res_blocks, input, *width, &w)?;
            let down = match level + 1 < widths.len() {
                true => Some(w.conv2d("downsamplers.0.conv", *width, *width, 3)?.stride(2).padding_end(1)),
                false => None,
            };
            levels.push((blocks, down));
            input = *width;
        }
        Ok(Self {
            conv_in: w.conv2d("conv_in", 3, config.channels, 3)?.padding(1),
            levels,
            mid: Middle::load(config, input, &w.at("mid_block"))?,
            norm_out: w.norm("conv_norm_out", input, EPS)?,
            conv_out: w.conv2d("conv_out", input, 2 * config.latent_channels, 3)?.padding(1),
            groups: config.groups,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = kernels::conv2d(x, &self.conv_in)?;
        for (blocks, down) in &self.levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(down) = down {
                x = kernels::conv2d(&x, down)?;
            }
        }
        let x = kernels::group_norm_silu(&self.mid.forward(&x)?, &self.norm_out, self.groups)?;
        Ok(kernels::conv2d(&x, &self.conv_out)?)
    }
}

#[derive(Clone, Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    /// Coarse to fine.
    levels: Vec<(Vec<ResBlock>, Option<Conv2d>)>,
    norm_out: Norm,
    conv_out: Conv2d,
    groups: usize,
}

impl Decoder {
    fn load(config: &VaeConfig, w: &Weights) -> Result<Self> {
        let widths = config.widths();
        let deepest = widths[widths.len() - 1];
        let mut input = deepest;
        let mut levels = Vec::new();
        for (block, width) in widths.iter().rev().enumerate() {
            let w = w.at("up_blocks").at(block);
            let blocks = ResBlock::chain(config, config.res_blocks + 1, input, *width, &w)?;
            let up = match block + 1 < widths.len() {
                true => Some(w.conv2d("upsamplers.0.conv", *width, *width, 3)?.padding(1)),
                false => None,
            };
            levels.push((blocks, up));
            input = *width;
        }
        Ok(Self {
            conv_in: w.conv2d("conv_in", config.latent_channels, deepest, 3)?.padding(1),
            mid: Middle::load(config, deepest, &w.at("mid_block"))?,
            levels,
            norm_out: w.norm("conv_norm_out", input, EPS)?,
            conv_out: w.conv2d("conv_out", input, 3, 3)?.padding(1),
            groups: config.groups,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.mid.forward(&kernels::conv2d(x, &self.conv_in)?)?;
        for (blocks, up) in &self.levels {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(up) = up {
                let (_, _, h, w) = x.dims4()?;
                x = kernels::upsample_conv2d(&x, 2 * h, 2 * w, up)?;
            }
        }
        let x = kernels::group_norm_silu(&x, &self.norm_out, self.groups)?;
        Ok(kernels::conv2d(&x, &self.conv_out)?)
    }
}

#[derive(Clone, Debug)]
struct ResBlock {
    norm1: Norm,
    conv1: Conv2d,
    norm2: Norm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    groups: usize,
}

impl ResBlock {
    /// `count` blocks named `resnets.0`…, the first of which changes the width.
    fn chain(
        config: &VaeConfig,
        count: usize,
        input: usize,
        output: usize,
        w: &Weights,
    ) -> Result<Vec<Self>> {
        let block =
            |i| Self::load(config, if i == 0 { input } else { output }, output, &w.at("resnets").at(i));
        (0..count).map(block).collect()
    }

    fn load(config: &VaeConfig, input: usize, output: usize, w: &Weights) -> Result<Self> {
        let shortcut = match input == output {
            true => None,
            false => Some(w.conv2d("conv_shortcut", input, output, 1)?),
        };
        Ok(Self {
            norm1: w.norm("norm1", input, EPS)?,
            conv1: w.conv2d("conv1", input, output, 3)?.padding(1),
            norm2: w.norm("norm2", output, EPS)?,
            conv2: w.conv2d("conv2", output, output, 3)?.padding(1),
            shortcut,
            groups: config.groups,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = kernels::conv2d(&kernels::group_norm_silu(x, &self.norm1, self.groups)?, &self.conv1)?;
        let normed = kernels::group_norm_silu(&y, &self.norm2, self.groups)?;
        let skip = match &self.shortcut {
            Some(shortcut) => &kernels::conv2d(x, shortcut)?,
            None => x,
        };
        Ok(kernels::conv2d_add(&normed, &self.conv2, skip)?)
    }
}

/// Residual block, attention over all positions with one head, residual block.
#[derive(Clone, Debug)]
struct Middle {
    before: ResBlock,
    norm: Norm,
    qkv: [Linear; 3],
    out: Linear,
    after: ResBlock,
    groups: usize,
}

impl Middle {
    fn load(config: &VaeConfig, width: usize, w: &Weights) -> Result<Self> {
        let res = |i: usize| ResBlock::load(config, width, width, &w.at("resnets").at(i));
        let attention = w.at("attentions.0");
        let linear = |name| attention.linear(name, width, width);
        Ok(Self {
            before: res(0)?,
            norm: attention.norm("group_norm", width, EPS)?,
            qkv: [linear("to_q")?, linear("to_k")?, linear("to_v")?],
            out: linear("to_out.0")?,
            after: res(1)?,
            groups: config.groups,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.before.forward(x)?;
        let width = x.dim(1)?;
        let tokens = kernels::as_tokens(&kernels::group_norm(&x, &self.norm, self.groups)?)?;
        let [q, k, v] = &self.qkv;
        let project = |map| kernels::linear(&tokens, map)?.unsqueeze(1);
        let scale = (width as f64).sqrt().recip();
        let y = kernels::attention(&project(q)?, &project(k)?, &project(v)?, scale, None)?;
        self.after.forward(&kernels::linear_picture_add(&y.squeeze(1)?, &self.out, &x)?)
    }
}
