//! SDXL's autoencoder (AutoencoderKL, Rombach et al. 2022): pictures to latents of an eighth of the size, and back.
//!
//! Pictures are (b, 3, h, w) in [−1, 1], h and w multiples of eight; latents (b, 4, h/8, w/8), unscaled. The one attention
//! layer is tiled, and [`Vae::decode_tiled`] decodes large latents in overlapping tiles, since a single full-size feature
//! map takes 3.8 GB at 1920². Tensor names are those of diffusers.

mod coders;
mod tiles;

use candle_core::{DType, Tensor};
use kernels::Conv2d;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Weights};
use coders::{Decoder, Encoder};
use tiles::{Canvas, tiles, window};

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
        if sound {
            return Ok(());
        }
        let reason = "channel_mult must not be empty and every width must be a multiple of groups";
        Err(Error::Config { network: "vae", reason: reason.to_owned() })
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
pub struct LatentDistribution {
    /// Mean, the latent to use.
    pub mean: Tensor,
    /// Logarithm of the variance, within [−30, 20].
    pub logvar: Tensor,
}

impl Vae {
    /// Builds the network from tensors with diffusers' names.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
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
    ///
    /// # Errors
    /// Where the sides are no multiples of [`VaeConfig::factor`], or the device fails.
    pub fn encode(&self, pictures: &Tensor) -> Result<LatentDistribution> {
        let (_, _, h, w) = pictures.dims4()?;
        if h % self.factor != 0 || w % self.factor != 0 || h == 0 || w == 0 {
            let reason =
                format!("a picture of {h} x {w} has no latent; crop it to multiples of {}", self.factor);
            return Err(Error::Config { network: "vae", reason });
        }
        let moments = self.quant.forward(&self.encoder.forward(pictures)?)?.to_dtype(DType::F32)?;
        let half = |i| moments.narrow(1, i * self.latent_channels, self.latent_channels)?.contiguous();
        Ok(LatentDistribution { mean: half(0)?, logvar: half(1)?.clamp(-30f32, 20f32)? })
    }

    /// The mean of [`Vae::encode`] of one picture (1, 3, h, w) in tiles of `tile` latent pixels that overlap by `overlap`,
    /// feathered linearly into each other. Equal to `encode` where one tile covers the latent.
    ///
    /// # Errors
    /// Where the sides are no multiples of [`VaeConfig::factor`], tiles overlap by their whole size, or the device fails.
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
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let x = self.post_quant.forward(latents)?;
        Ok(self.decoder.forward(&x)?.to_dtype(DType::F32)?)
    }

    /// [`Vae::decode`] of one latent (1, 4, h, w) in tiles of `tile` latent pixels that overlap by `overlap`, feathered
    /// linearly into each other. Equal to `decode` where one tile covers the latent.
    ///
    /// # Errors
    /// Where tiles overlap by their whole size, or the device fails.
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
