//! Layers out of weights: a name, the dimensions, and the tensors `weight` and `bias` below that name.

use kernels::{Conv2d, GroupNorm, LayerNorm, Linear};

use crate::{Result, Weights};

impl Weights {
    /// A linear map with bias.
    pub(crate) fn linear(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let w = self.at(name);
        let bias = w.get("bias", &[output])?;
        self.settled(Linear::new(w.get_compact("weight", &[output, input])?, Some(bias)))
    }

    /// A linear map without bias.
    pub(crate) fn linear_no_bias(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        self.settled(Linear::new(self.at(name).get_compact("weight", &[output, input])?, None))
    }

    /// A linear map with bias and GEGLU: `output` values and their `output` gates are one weight.
    pub(crate) fn geglu(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let w = self.at(name);
        let bias = w.get("bias", &[2 * output])?;
        self.settled(Linear::geglu(w.get_compact("weight", &[2 * output, input])?, Some(bias)))
    }

    /// The map in the arithmetic that was asked for.
    fn settled(&self, map: Linear) -> Result<Linear> {
        Ok(if self.makes_int8() { map.int8()? } else { map })
    }

    /// A square convolution with bias; stride, padding and the rest are set on the result.
    pub(crate) fn conv2d(&self, name: &str, input: usize, output: usize, size: usize) -> Result<Conv2d> {
        let w = self.at(name);
        let weight = w.get_compact("weight", &[output, input, size, size])?;
        Ok(Conv2d::new(weight, Some(w.get("bias", &[output])?)))
    }

    /// A group normalisation; an activation is set on the result.
    pub(crate) fn group_norm(
        &self,
        name: &str,
        channels: usize,
        groups: usize,
        eps: f64,
    ) -> Result<GroupNorm> {
        let w = self.at(name);
        let (weight, bias) = (w.get("weight", &[channels])?, w.get("bias", &[channels])?);
        Ok(GroupNorm::new(weight, bias, groups, eps)?)
    }

    /// A layer normalisation.
    pub(crate) fn layer_norm(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        let w = self.at(name);
        Ok(LayerNorm::new(w.get("weight", &[width])?, w.get("bias", &[width])?, eps))
    }
}
