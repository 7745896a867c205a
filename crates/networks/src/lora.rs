//! LoRA (Hu et al. 2021): low-rank changes to the weights of a network, merged as the weights are read.
//!
//! W ← W + strength·(alpha/rank)·up·down, for linear maps and convolutions. Every key of a file has to belong to a layer of
//! one of the networks (`layers`): one that is passed over would change the pictures without a word.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::weights::{Source, WeightFile};
use crate::{Error, Result};

mod layers;

use layers::Network;

/// A network a LoRA may change.
#[derive(Clone, Copy, Debug)]
pub enum LoraPart {
    /// The UNet, with its residual blocks per level (to read single-file names).
    UNet {
        /// `UNetConfig::res_blocks`.
        res_blocks: usize,
    },
    /// CLIP-L.
    ClipL,
    /// CLIP-G.
    ClipG,
}

/// One changed layer: the names of its tensors.
#[derive(Clone)]
struct Change {
    down: String,
    up: String,
    alpha: Option<String>,
}

/// The names of a layer's tensors, as they are found.
#[derive(Default)]
struct Found {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

/// An opened LoRA file.
pub struct Lora {
    origin: String,
    source: Arc<dyn Source>,
    /// By the layer's key in the file: its network, its name there, its tensors.
    changes: BTreeMap<String, (Network, String, Change)>,
}

/// Endings of the two factors in the dialects.
const DOWN: [&str; 6] = [
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
];
const UP: [&str; 6] = [
    ".lora_up.weight",
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora.up.weight",
    "_lora.up.weight",
    ".lora_linear_layer.up.weight",
];

impl Lora {
    /// Opens a LoRA file.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or holds something else than a plain LoRA.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(path.display().to_string(), Arc::new(WeightFile::open(path)?))
    }

    /// A LoRA out of any source; `origin` names it in errors.
    ///
    /// # Errors
    /// A source that holds something else than a plain LoRA, nothing at all, or keys that belong to none of the networks.
    pub fn new(origin: String, source: Arc<dyn Source>) -> Result<Self> {
        let refuse = |reason: String| Error::Unsupported { origin: origin.clone(), reason };
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for name in source.names() {
            let ending = |endings: &[&str]| {
                endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned)
            };
            if let Some(layer) = ending(&DOWN) {
                found.entry(layer).or_default().down = Some(name);
            } else if let Some(layer) = ending(&UP) {
                found.entry(layer).or_default().up = Some(name);
            } else if let Some(layer) = ending(&[".alpha"]) {
                found.entry(layer).or_default().alpha = Some(name);
            } else {
                return Err(refuse(format!(
                    "tensor `{name}` is not of a plain LoRA (LoHa, LoKr and DoRA are not supported)"
                )));
            }
        }
        if found.is_empty() {
            return Err(refuse("holds no LoRA: there is no tensor in it".to_owned()));
        }
        let mut changes = BTreeMap::new();
        for (layer, Found { down, up, alpha }) in found {
            let (Some(down), Some(up)) = (down, up) else {
                return Err(refuse(format!("layer `{layer}` has only one of its two factors")));
            };
            let (network, flat) = layers::place(&layer).ok_or_else(|| {
                refuse(format!(
                    "`{layer}` is a layer of none of SDXL's networks, or does not say of which; a LoRA for SDXL names \
                     them as `lora_unet_…`, `lora_te1_…`, `lora_te2_…` or `unet.…`, `text_encoder.…`, `text_encoder_2.…`"
                ))
            })?;
            changes.insert(layer, (network, flat, Change { down, up, alpha }));
        }
        Ok(Self { origin, source, changes })
    }

    /// `source` with this LoRA's changes to `part` merged in, `strength` times. A change to a layer that `source` does not
    /// have is an error: the LoRA was made for another model.
    ///
    /// # Errors
    /// A change to a layer that `source` does not have.
    pub fn merged(
        self: &Arc<Self>,
        source: Arc<dyn Source>,
        part: LoraPart,
        strength: f64,
    ) -> Result<Arc<dyn Source>> {
        let flat_names = source.names().into_iter().filter_map(|name| {
            let layer = name.strip_suffix(".weight")?;
            Some((layer.replace('.', "_"), name.clone()))
        });
        let by_flat_name: BTreeMap<String, String> = flat_names.collect();
        let mut targets = BTreeMap::new();
        let refuse = |reason| Error::Unsupported { origin: self.origin.clone(), reason };
        for (layer, (network, flat, change)) in &self.changes {
            if !network.is(part) {
                continue;
            }
            let target = by_flat_name
                .get(&layers::in_diffusers(flat, part))
                .ok_or_else(|| refuse(format!("changes layer `{layer}`, which this model does not have")))?;
            if targets.insert(target.clone(), change.clone()).is_some() {
                return Err(refuse(format!("changes layer `{layer}` twice, under two names")));
            }
        }
        Ok(Arc::new(Merged { source, lora: Arc::clone(self), targets, strength }))
    }

    /// strength·(alpha/rank)·up·down in f32, of the given shape.
    fn delta(&self, target: &str, change: &Change, shape: &[usize], strength: f64) -> Result<Tensor> {
        let factor = |name: &str| -> Result<Tensor> { Ok(self.source.read(name)?.to_dtype(DType::F32)?) };
        let (down, up) = (factor(&change.down)?.flatten_from(1)?, factor(&change.up)?.flatten_from(1)?);
        let rank = down.dim(0)?;
        let alpha = match &change.alpha {
            Some(alpha) => f64::from(factor(alpha)?.flatten_all()?.get(0)?.to_scalar::<f32>()?),
            None => rank as f64,
        };
        if up.dim(1)? != rank || [up.dim(0)?, down.dim(1)?] != [shape[0], shape[1..].iter().product()] {
            return Err(Error::Shape {
                origin: self.origin.clone(),
                name: target.to_owned(),
                got: vec![up.dim(0)?, down.dim(1)?],
                want: shape.to_vec(),
            });
        }
        Ok((up.matmul(&down)?.reshape(shape)? * (strength * alpha / rank as f64))?)
    }
}

/// A source whose tensors are changed as they are read.
struct Merged {
    source: Arc<dyn Source>,
    lora: Arc<Lora>,
    targets: BTreeMap<String, Change>,
    strength: f64,
}

impl Source for Merged {
    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(name)
    }

    fn read(&self, name: &str) -> Result<Tensor> {
        let tensor = self.source.read(name)?;
        let Some(change) = self.targets.get(name) else { return Ok(tensor) };
        let delta = self.lora.delta(name, change, tensor.dims(), self.strength)?;
        Ok((tensor.to_dtype(DType::F32)? + delta)?)
    }
}
