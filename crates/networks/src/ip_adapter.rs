//! IP-Adapter (Ye et al. 2023): image states to tokens, and tokens to keys and values of the UNet's cross-attentions.
//!
//! STANDARD projects CLIP's one embedding to four tokens; PLUS resamples the states of all patches with learned queries
//! (Perceiver, Jaegle et al. 2021) to sixteen. Tokens are (b, n, context). Tensor names are those of the published files
//! (`image_proj.…`, `ip_adapter.K.to_k_ip.weight`).

use std::collections::BTreeMap;

use candle_core::Tensor;
use kernels::{Activation, LayerNorm, Linear};
use serde::{Deserialize, Serialize};

use crate::clip::vision::ImageStates;
use crate::unet::{AdapterLayer, ImagePart, RegionMask};
use crate::{Result, Weights};

/// Epsilon of all layer normalisations.
const EPS: f64 = 1e-5;

/// Dimensions of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IpAdapterConfig {
    /// Tokens out of the image embedding.
    Standard(StandardConfig),
    /// Tokens out of the penultimate states of all patches.
    Plus(PlusConfig),
}

/// Dimensions of a STANDARD adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardConfig {
    /// Width of the image embedding.
    pub embedding: usize,
    /// Tokens.
    pub tokens: usize,
    /// Width of a token: the UNet's context.
    pub context: usize,
}

/// Dimensions of a PLUS adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlusConfig {
    /// Width of the image states.
    pub states: usize,
    /// Width inside the resampler.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Tokens.
    pub tokens: usize,
    /// Width inside a layer's MLP, in multiples of `width`.
    pub mlp_mult: usize,
    /// Width of a token: the UNet's context.
    pub context: usize,
}

impl IpAdapterConfig {
    /// `ip-adapter_sdxl_vit-h`.
    pub fn standard() -> Self {
        Self::Standard(StandardConfig { embedding: 1024, tokens: 4, context: 2048 })
    }

    /// `ip-adapter-plus_sdxl_vit-h`.
    pub fn plus() -> Self {
        Self::Plus(PlusConfig {
            states: 1280,
            width: 1280,
            depth: 4,
            heads: 20,
            head_dim: 64,
            tokens: 16,
            mlp_mult: 4,
            context: 2048,
        })
    }

    /// Whether the tokens come out of the embedding, and not out of the patches.
    pub fn reads_embedding(&self) -> bool {
        matches!(self, Self::Standard(_))
    }

    fn context(&self) -> usize {
        match self {
            Self::Standard(config) => config.context,
            Self::Plus(config) => config.context,
        }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct IpAdapter {
    projection: Projection,
    /// Maps to keys and values by [`AdapterLayer::index`].
    layers: BTreeMap<usize, (Linear, Linear)>,
}

#[derive(Clone, Debug)]
enum Projection {
    /// `nothing` is the embedding of no picture: zeros.
    Standard {
        linear: Linear,
        norm: LayerNorm,
        tokens: usize,
        nothing: Tensor,
    },
    Plus(Resampler),
}

impl IpAdapter {
    /// Builds the adapter with the maps of `layers` only; the file's other layers stay on disk.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &IpAdapterConfig, layers: &[AdapterLayer], weights: &Weights) -> Result<Self> {
        let image = weights.at("image_proj");
        let projection = match config {
            IpAdapterConfig::Standard(config) => Projection::Standard {
                linear: image.linear("proj", config.embedding, config.tokens * config.context)?,
                norm: image.layer_norm("norm", config.context, EPS)?,
                tokens: config.tokens,
                nothing: Tensor::zeros((1, config.embedding), weights.dtype(), weights.device())?,
            },
            IpAdapterConfig::Plus(config) => Projection::Plus(Resampler::load(config, &image)?),
        };
        image.finish()?;
        let maps = |layer: &AdapterLayer| {
            let w = weights.at("ip_adapter").at(layer.index);
            let map = |name| w.linear_no_bias(name, config.context(), layer.channels);
            Ok((layer.index, (map("to_k_ip")?, map("to_v_ip")?)))
        };
        let layers = layers.iter().map(maps).collect::<Result<_>>()?;
        weights.at("ip_adapter").ignore(&["to_k_ip.weight", "to_v_ip.weight"]);
        weights.finish()?;
        Ok(Self { projection, layers })
    }

    /// The tokens (b, n, context) of a picture's states.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn tokens(&self, image: &ImageStates) -> Result<Tensor> {
        match &self.projection {
            Projection::Standard { linear, norm, tokens, .. } => {
                standard(&image.embedding, linear, norm, *tokens)
            }
            Projection::Plus(resampler) => resampler.forward(&image.penultimate),
        }
    }

    /// The tokens of no picture, for the unconditional half of guidance. `black` makes the states of the black picture,
    /// which PLUS takes for it; STANDARD takes a zero embedding and does not ask.
    ///
    /// # Errors
    /// Those of `black`, and where the device fails.
    pub fn empty_tokens(&self, black: impl FnOnce() -> Result<ImageStates>) -> Result<Tensor> {
        match &self.projection {
            Projection::Standard { linear, norm, tokens, nothing } => {
                standard(nothing, linear, norm, *tokens)
            }
            Projection::Plus(resampler) => resampler.forward(&black()?.penultimate),
        }
    }

    /// Keys and values of `tokens` (b, n, context) for every layer of the adapter; `weight` multiplies the attention to
    /// them, in `region` alone where there is one.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn prompt(&self, tokens: &Tensor, weight: f64, region: Option<RegionMask>) -> Result<ImagePart> {
        let layer = |(index, (k, v)): (&usize, &(Linear, Linear))| {
            Ok((*index, (k.forward(tokens)?, v.forward(tokens)?)))
        };
        Ok(ImagePart { layers: self.layers.iter().map(layer).collect::<Result<_>>()?, weight, region })
    }
}

fn standard(embedding: &Tensor, linear: &Linear, norm: &LayerNorm, tokens: usize) -> Result<Tensor> {
    let x = linear.forward(embedding)?;
    let x = x.reshape((x.dim(0)?, tokens, ()))?;
    Ok(norm.forward(&x)?)
}

/// PLUS's Perceiver: learned queries attend to the image states and to themselves.
#[derive(Clone, Debug)]
struct Resampler {
    queries: Tensor,
    proj_in: Linear,
    layers: Vec<ResamplerLayer>,
    proj_out: Linear,
    norm_out: LayerNorm,
}

impl Resampler {
    fn load(config: &PlusConfig, w: &Weights) -> Result<Self> {
        let PlusConfig { states, width, depth, tokens, context, .. } = *config;
        Ok(Self {
            queries: w.get("latents", &[1, tokens, width])?,
            proj_in: w.linear("proj_in", states, width)?,
            layers: (0..depth)
                .map(|i| ResamplerLayer::load(config, &w.at("layers").at(i)))
                .collect::<Result<_>>()?,
            proj_out: w.linear("proj_out", width, context)?,
            norm_out: w.layer_norm("norm_out", context, EPS)?,
        })
    }

    fn forward(&self, states: &Tensor) -> Result<Tensor> {
        let x = self.proj_in.forward(&states.to_dtype(self.queries.dtype())?)?;
        let (_, tokens, width) = self.queries.dims3()?;
        let mut queries = self.queries.broadcast_as((x.dim(0)?, tokens, width))?.contiguous()?;
        for layer in &self.layers {
            queries = layer.forward(&x, &queries)?;
        }
        Ok(self.norm_out.forward(&self.proj_out.forward(&queries)?)?)
    }
}

#[derive(Clone, Debug)]
struct ResamplerLayer {
    heads: usize,
    scale: f64,
    norm_states: LayerNorm,
    norm_queries: LayerNorm,
    to_q: Linear,
    to_kv: Linear,
    to_out: Linear,
    norm_mlp: LayerNorm,
    mlp: [Linear; 2],
}

impl ResamplerLayer {
    fn load(config: &PlusConfig, w: &Weights) -> Result<Self> {
        let PlusConfig { width, heads, head_dim, mlp_mult, .. } = *config;
        let inner = heads * head_dim;
        let (attention, mlp) = (w.at(0), w.at(1));
        Ok(Self {
            heads,
            scale: (head_dim as f64).sqrt().recip(),
            norm_states: attention.layer_norm("norm1", width, EPS)?,
            norm_queries: attention.layer_norm("norm2", width, EPS)?,
            to_q: attention.linear_no_bias("to_q", width, inner)?,
            to_kv: attention.linear_no_bias("to_kv", width, 2 * inner)?,
            to_out: attention.linear_no_bias("to_out", inner, width)?,
            norm_mlp: mlp.layer_norm("0", width, EPS)?,
            mlp: [
                mlp.linear_no_bias("1", width, mlp_mult * width)?.activation(Activation::Gelu),
                mlp.linear_no_bias("3", mlp_mult * width, width)?,
            ],
        })
    }

    fn forward(&self, states: &Tensor, queries: &Tensor) -> Result<Tensor> {
        let states = self.norm_states.forward(states)?;
        let normed = self.norm_queries.forward(queries)?;
        let kv = self.to_kv.forward(&Tensor::cat(&[&states, &normed], 1)?)?;
        let inner = kv.dim(2)? / 2;
        let heads = |x: &Tensor| kernels::split_heads(x, self.heads);
        let (k, v) = (kv.narrow(2, 0, inner)?.contiguous()?, kv.narrow(2, inner, inner)?.contiguous()?);
        let q = self.to_q.forward(&normed)?;
        let y = kernels::attention(&heads(&q)?, &heads(&k)?, &heads(&v)?, self.scale, None)?;
        let x = self.to_out.forward_with_residual(&kernels::merge_heads(&y)?, queries)?;
        let [first, second] = &self.mlp;
        let hidden = first.forward(&self.norm_mlp.forward(&x)?)?;
        Ok(second.forward_with_residual(&hidden, &x)?)
    }
}
