//! From a prompt to what the UNet is conditioned on: the context (1, 77·k, 2048) of both encoders side by side, and the
//! vector of pooled text and picture sizes.
//!
//! A token's weight w moves its state z away from the empty prompt's state e at the same position: (z − e)·w + e. Only the
//! first chunk is pooled, and weights leave the pooled vector alone.

use candle_core::{D, DType, Tensor};

use super::text::ClipText;
use super::tokenizer::{Tokenizer, Tokens};
use crate::Result;

/// Padding of CLIP-G's chunks: the token "!".
const PAD_G: u32 = 0;
/// Width of the sinusoid of each size.
const SIZE_WIDTH: usize = 256;

/// Text as the UNet takes it.
#[derive(Clone, Debug)]
pub struct TextCondition {
    /// (1, 77·chunks, width of L + width of G).
    pub context: Tensor,
    /// (1, projection of G).
    pub pooled: Tensor,
}

/// The two text encoders of SDXL with their tokenizer.
pub struct TextEncoders {
    tokenizer: Tokenizer,
    l: ClipText,
    g: ClipText,
}

impl TextEncoders {
    /// CLIP-L and CLIP-G; the latter must have a projection.
    ///
    /// # Errors
    /// Never, in practice: the vocabulary that is compiled in would have to be damaged.
    pub fn new(l: ClipText, g: ClipText) -> Result<Self> {
        Ok(Self { tokenizer: Tokenizer::clip()?, l, g })
    }

    /// The weighted tokens of a prompt for CLIP-L and for CLIP-G, which differ in their padding.
    pub fn tokens(&self, prompt: &str) -> (Tokens, Tokens) {
        let tokens = |encoder: &ClipText, pad| self.tokenizer.chunks(prompt, encoder.positions(), pad);
        (tokens(&self.l, self.tokenizer.end()), tokens(&self.g, PAD_G))
    }

    /// Encodes a prompt.
    ///
    /// # Errors
    /// Where CLIP-G has no projection, or the device fails.
    pub fn encode(&self, prompt: &str) -> Result<TextCondition> {
        let (tokens_l, tokens_g) = self.tokens(prompt);
        let (states_l, _) = self.states(&self.l, &tokens_l, self.tokenizer.end())?;
        let (states_g, pooled) = self.states(&self.g, &tokens_g, PAD_G)?;
        let pooled = pooled.ok_or_else(|| crate::Error::Config {
            network: "clip_g",
            reason: "`projection` is needed for the pooled vector".to_owned(),
        })?;
        Ok(TextCondition { context: Tensor::cat(&[states_l, states_g], D::Minus1)?, pooled })
    }

    /// Weighted states (1, positions·chunks, width) and the first chunk's pooled vector.
    fn states(&self, encoder: &ClipText, tokens: &Tokens, pad: u32) -> Result<(Tensor, Option<Tensor>)> {
        let chunks = tokens.ids.len();
        let weighted = tokens.weights.iter().flatten().any(|weight| *weight != 1.0);
        let mut ids = tokens.ids.clone();
        if weighted {
            ids.push(self.tokenizer.empty(encoder.positions(), pad));
        }
        let states = encoder.forward(&ids)?;
        let mut z = states.penultimate.narrow(0, 0, chunks)?;
        if weighted {
            let empty = states.penultimate.narrow(0, chunks, 1)?;
            let weights: Vec<f32> = tokens.weights.iter().flatten().map(|weight| *weight as f32).collect();
            let weights = Tensor::from_vec(weights, (chunks, encoder.positions(), 1), z.device())?;
            let moved = z.broadcast_sub(&empty)?.broadcast_mul(&weights.to_dtype(z.dtype())?)?;
            let neutral = weights.eq(1f32)?.broadcast_as(z.shape())?;
            z = neutral.where_cond(&z, &moved.broadcast_add(&empty)?)?;
        }
        let width = z.dim(2)?;
        let pooled = match states.pooled {
            Some(pooled) => Some(pooled.narrow(0, 0, 1)?),
            None => None,
        };
        Ok((z.contiguous()?.reshape((1, (), width))?, pooled))
    }
}

/// SDXL's vector condition (b, pooled + 6·256) of b prompts: the pooled text, then sinusoids of height and width, of the crop's top and
/// left (0, 0), and of the target's height and width (the same again). Sizes in pixels; f32.
///
/// # Errors
/// Where the shapes do not fit, or the device fails.
pub fn vector_condition(pooled: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let sizes = [height, width, 0, 0, height, width].map(|size| size as f32);
    let sizes = Tensor::new(&sizes, pooled.device())?;
    let sizes = kernels::sinusoid(&sizes, SIZE_WIDTH)?.flatten_all()?.unsqueeze(0)?;
    let sizes = sizes.repeat((pooled.dim(0)?, 1))?;
    Ok(Tensor::cat(&[pooled.to_dtype(DType::F32)?, sizes], 1)?)
}
