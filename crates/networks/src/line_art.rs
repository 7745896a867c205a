//! The line-art generator of Informative Drawings (Chan et al. 2022): a picture to its drawing.
//!
//! Pictures are (b, 3, h, w) in [0, 1], h and w multiples of four; drawings (b, 1, h, w) in [0, 1], dark lines on white.
//! A ResNet between two convolutions down and two up, with instance normalisation. Names are those of `sk_model.pth`.

use candle_core::Tensor;
use kernels::{Activation, Conv2d, ConvTranspose2d};
use serde::{Deserialize, Serialize};

use crate::{Result, Weights};

/// Epsilon of the instance normalisations.
const EPS: f64 = 1e-5;

/// Dimensions of the generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineArtConfig {
    /// Width at full size; twice and four times as wide at half and quarter size.
    pub channels: usize,
    /// Residual blocks at quarter size.
    pub res_blocks: usize,
}

impl Default for LineArtConfig {
    /// The published generator, 4.3 million parameters.
    fn default() -> Self {
        Self { channels: 64, res_blocks: 3 }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct LineArt {
    entry: Conv2d,
    down: [Conv2d; 2],
    residual: Vec<(Conv2d, Conv2d)>,
    up: [ConvTranspose2d; 2],
    exit: Conv2d,
}

impl LineArt {
    /// Builds the network from tensors named as in `sk_model.pth`.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &LineArtConfig, weights: &Weights) -> Result<Self> {
        let c = config.channels;
        let down = |name, input, output| -> Result<Conv2d> {
            Ok(weights.conv2d(name, input, output, 3)?.stride(2).padding(1))
        };
        let up = |name: &str, input, output| -> Result<ConvTranspose2d> {
            let w = weights.at(name);
            let weight = w.get("weight", &[input, output, 3, 3])?;
            Ok(ConvTranspose2d::new(weight, Some(w.get("bias", &[output])?), 2, 1, 1))
        };
        let residual = |i: usize| {
            let w = weights.at("model2").at(i).at("conv_block");
            Ok((w.conv2d("1", 4 * c, 4 * c, 3)?, w.conv2d("5", 4 * c, 4 * c, 3)?))
        };
        let net = Self {
            entry: weights.conv2d("model0.1", 3, c, 7)?,
            down: [down("model1.0", c, 2 * c)?, down("model1.3", 2 * c, 4 * c)?],
            residual: (0..config.res_blocks).map(residual).collect::<Result<_>>()?,
            up: [up("model3.0", 4 * c, 2 * c)?, up("model3.3", 2 * c, c)?],
            exit: weights.conv2d("model4.1", c, 1, 7)?.activation(Activation::Sigmoid),
        };
        weights.finish()?;
        Ok(net)
    }

    /// The drawing (b, 1, h, w) of `x` (b, 3, h, w).
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = norm_relu(&self.entry.forward(&kernels::pad_reflect(x, 3)?)?)?;
        for down in &self.down {
            x = norm_relu(&down.forward(&x)?)?;
        }
        for (first, second) in &self.residual {
            let y = norm_relu(&first.forward(&kernels::pad_reflect(&x, 1)?)?)?;
            let y = second.forward(&kernels::pad_reflect(&y, 1)?)?;
            x = (x + kernels::instance_norm(&y, EPS)?)?;
        }
        for up in &self.up {
            x = norm_relu(&up.forward(&x)?)?;
        }
        Ok(self.exit.forward(&kernels::pad_reflect(&x, 3)?)?)
    }
}

fn norm_relu(x: &Tensor) -> Result<Tensor> {
    Ok(Activation::Relu.apply(&kernels::instance_norm(x, EPS)?)?)
}
