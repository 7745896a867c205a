//! The form network (ours; `training/form`): what a picture and its mask say about the subject's surface.
//!
//! A U-Net (Ronneberger et al. 2015) with residual blocks (He et al. 2016): 3×3 convolutions with ReLU, BatchNorm folded in.
//! Input (b, 4, h, w): RGB and mask, each of 0..1 as (x − 0.5) / 0.25; h and w are multiples of [`STRIDE`]. Output
//! (b, 6, h, w), read by [`FormNet::surface`]. The camera's frame: x to the right, y down as image rows, z towards the viewer.

use candle_core::Tensor;
use kernels::{Activation, Conv2d, Corners};
use serde::{Deserialize, Serialize};

use crate::{Result, Weights};

/// Sides of the input are multiples of this: the picture is halved five times.
pub const STRIDE: usize = 32;
/// Planes of the output.
const PLANES: usize = 6;

/// Dimensions of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormConfig {
    /// Channels at full size and after each halving.
    pub widths: [usize; 6],
    /// Residual blocks behind each halving.
    pub blocks: [usize; 5],
}

/// What the network says of every pixel.
#[derive(Clone, Debug)]
pub struct Surface {
    /// Unit normals (b, 3, h, w).
    pub normal: Tensor,
    /// Natural logarithm of the light that a white matt surface would send here, up to a constant (b, 1, h, w).
    pub shading: Tensor,
    /// 0: matt, 1: a mirror; one minus the roughness (b, 1, h, w).
    pub gloss: Tensor,
    /// How sure the normal is: 1 minus the expected error in right angles (b, 1, h, w).
    pub confidence: Tensor,
}

/// The network.
#[derive(Clone, Debug)]
pub struct FormNet {
    stem: Conv2d,
    down: Vec<(Conv2d, Vec<Block>)>,
    up: Vec<(Conv2d, Block)>,
    head: Conv2d,
}

impl FormNet {
    /// Builds the network from the tensors that `training/form/export.py` writes.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network; a configuration that describes none.
    pub fn load(config: &FormConfig, weights: &Weights) -> Result<Self> {
        let FormConfig { widths, blocks } = config;
        let relu = |conv: Conv2d| conv.activation(Activation::Relu);
        let conv = |name: String, i, o| Ok::<_, crate::Error>(weights.conv2d(&name, i, o, 3)?.padding(1));
        let block = |name: String, c| {
            Ok::<_, crate::Error>(Block {
                a: relu(conv(format!("{name}.a"), c, c)?),
                b: relu(conv(format!("{name}.b"), c, c)?),
            })
        };
        let mut down = Vec::new();
        for (i, count) in blocks.iter().enumerate() {
            let halving = relu(conv(format!("down.{i}"), widths[i], widths[i + 1])?.stride(2));
            let deep = (0..*count).map(|j| block(format!("deep.{i}.{j}"), widths[i + 1]));
            down.push((halving, deep.collect::<Result<_>>()?));
        }
        let up = (0..blocks.len()).map(|i| {
            let fine = blocks.len() - 1 - i;
            let joined = widths[fine + 1] + widths[fine];
            let entry = relu(conv(format!("up.{i}"), joined, widths[fine])?);
            Ok((entry, block(format!("fine.{i}"), widths[fine])?))
        });
        let net = Self {
            stem: relu(conv("stem".to_owned(), 4, widths[0])?),
            down,
            up: up.collect::<Result<_>>()?,
            head: conv("head".to_owned(), widths[0], PLANES)?,
        };
        weights.finish()?;
        Ok(net)
    }

    /// `x` (b, 4, h, w) → the six planes (b, 6, h, w) as trained.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.stem.forward(x)?;
        let mut skips = Vec::new();
        for (halving, deep) in &self.down {
            let halved = halving.forward(&x)?;
            skips.push(std::mem::replace(&mut x, halved));
            for block in deep {
                x = block.forward(&x)?;
            }
        }
        for ((entry, block), skip) in self.up.iter().zip(skips.iter().rev()) {
            let (_, _, h, w) = skip.dims4()?;
            let larger = kernels::upsample_bilinear(&x, h, w, Corners::HalfPixel)?;
            x = block.forward(&entry.forward(&[&larger, skip])?)?;
        }
        Ok(self.head.forward(&x)?)
    }

    /// `x` (b, 4, h, w) → what it says of the surface.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn surface(&self, x: &Tensor) -> Result<Surface> {
        let planes = self.forward(x)?;
        let normal = planes.narrow(1, 0, 3)?;
        let length = normal.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-6)?;
        let kappa = (softplus(&planes.narrow(1, 3, 1)?)? + 0.6)?;
        Ok(Surface {
            normal: normal.broadcast_div(&length)?,
            shading: planes.narrow(1, 4, 1)?,
            gloss: kernels::sigmoid(&planes.narrow(1, 5, 1)?)?,
            confidence: confidence(&kappa)?,
        })
    }
}

/// Two convolutions and a way around them.
#[derive(Clone, Debug)]
struct Block {
    a: Conv2d,
    b: Conv2d,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.b.forward_with_residual(&self.a.forward(x)?, x)?)
    }
}

/// ln(1 + eˣ), without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok((x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?)
}

/// One minus the mean angle, in right angles, under the density that the loss takes the logarithm of:
/// (κ² + 1) exp(−κ θ) / (1 + exp(−κ π)) (Bae et al., "Estimating and exploiting the aleatoric uncertainty in surface normal
/// estimation", 2021).
fn confidence(kappa: &Tensor) -> Result<Tensor> {
    use std::f64::consts::PI;
    let tail = (kappa * -PI)?.exp()?;
    let near = ((kappa * 2.0)? / (kappa.sqr()? + 1.0)?)?;
    let far = ((&tail * PI)? / (tail + 1.0)?)?;
    Ok((1.0 - ((near + far)?.minimum(PI / 2.0)? * (2.0 / PI))?)?)
}
