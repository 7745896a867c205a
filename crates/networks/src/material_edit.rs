//! A change of one property of a material as a direction in CLIP's image space (Cheng et al. 2025, "MARBLE"): a small network
//! says from the embedding of the material's picture where it would lie were the material rougher, say, and by how much.
//!
//! Two perceptrons with one hidden layer each: one makes two directions out of the embedding, the other two factors out of the
//! strength. Tensor names are those of the published files: `fc1` and `fc2` for the directions, `edit_strength_fc1` and
//! `edit_strength_fc2` for the factors, each with `weight` and `bias`.

use candle_core::Tensor;
use kernels::{Activation, Linear};
use serde::{Deserialize, Serialize};

use crate::{Result, Weights};

/// Dimensions of an edit's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaterialEditConfig {
    /// Width inside the network of directions.
    pub hidden: usize,
    /// Width inside the network of factors.
    pub strength_hidden: usize,
}

impl Default for MaterialEditConfig {
    /// The published ones.
    fn default() -> Self {
        Self { hidden: 1024, strength_hidden: 128 }
    }
}

/// The network of one property.
#[derive(Clone, Debug)]
pub struct MaterialEdit {
    directions: [Linear; 2],
    factors: [Linear; 2],
}

impl MaterialEdit {
    /// Builds the network for embeddings of the width `embedding`.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, unreadable or of no use to the network.
    pub fn load(config: &MaterialEditConfig, embedding: usize, weights: &Weights) -> Result<Self> {
        let MaterialEditConfig { hidden, strength_hidden } = *config;
        let edit = Self {
            directions: [
                weights.linear("fc1", embedding, hidden)?.activation(Activation::Relu),
                weights.linear("fc2", hidden, 2 * embedding)?,
            ],
            factors: [
                weights.linear("edit_strength_fc1", 1, strength_hidden)?.activation(Activation::Relu),
                weights.linear("edit_strength_fc2", strength_hidden, 2)?,
            ],
        };
        weights.finish()?;
        Ok(edit)
    }

    /// What is to be added to `embedding` (b, width); `strength` is on the network's own scale.
    ///
    /// # Errors
    /// Where the input's shape does not fit the network, or the device fails.
    pub fn change(&self, embedding: &Tensor, strength: f64) -> Result<Tensor> {
        let through = |[first, second]: &[Linear; 2], x: &Tensor| second.forward(&first.forward(x)?);
        let directions = through(&self.directions, embedding)?;
        let strength = Tensor::new(&[[strength as f32]], embedding.device())?.to_dtype(embedding.dtype())?;
        let factors = through(&self.factors, &strength)?;
        let width = embedding.dim(1)?;
        let part = |at: usize| -> candle_core::Result<Tensor> {
            directions.narrow(1, at * width, width)?.broadcast_mul(&factors.narrow(1, at, 1)?)
        };
        Ok((part(0)? + part(1)?)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use candle_core::{DType, Device};

    use super::*;
    use crate::weights::Memory;

    /// Worked out by hand: embedding (3, −1), hidden units relu(x0) and relu(x1) = (3, 0); directions (3, 6) and (0, 3);
    /// strength 2 with hidden relu(2) = 2, factors (2, −4).
    #[test]
    fn a_change_is_the_sum_of_two_directions_times_their_factors() {
        let tensor = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(values, shape, &Device::Cpu).expect("tensor")
        };
        let tensors: HashMap<String, Tensor> = [
            ("fc1.weight", tensor(&[1.0, 0.0, 0.0, 1.0], &[2, 2])),
            ("fc1.bias", tensor(&[0.0, 0.0], &[2])),
            ("fc2.weight", tensor(&[1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 1.0, 0.0], &[4, 2])),
            ("fc2.bias", tensor(&[0.0; 4], &[4])),
            ("edit_strength_fc1.weight", tensor(&[1.0], &[1, 1])),
            ("edit_strength_fc1.bias", tensor(&[0.0], &[1])),
            ("edit_strength_fc2.weight", tensor(&[1.0, -1.0], &[2, 1])),
            ("edit_strength_fc2.bias", tensor(&[0.0, -2.0], &[2])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into();
        let weights = Weights::new("test".to_owned(), Arc::new(Memory(tensors)), DType::F32, &Device::Cpu);
        let config = MaterialEditConfig { hidden: 2, strength_hidden: 1 };
        let edit = MaterialEdit::load(&config, 2, &weights).expect("loads");
        let change = edit.change(&tensor(&[3.0, -1.0], &[1, 2]), 2.0).expect("computes");
        assert_eq!(change.to_vec2::<f32>().expect("values"), [[2.0 * 3.0, 2.0 * 6.0 - 4.0 * 3.0]]);
    }
}
