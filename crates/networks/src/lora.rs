//! LoRA (Hu et al. 2021): low-rank changes to the weights of a network, merged as the weights are read.
//!
//! W ← W + strength·(alpha/rank)·up·down, for linear maps and convolutions. Keys are those of kohya's scripts
//! (`lora_unet_…`, `lora_te1_…`, `lora_te2_…`, with either layout's names in them) or of diffusers (`unet.….lora_A.weight`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::checkpoint::keys;
use crate::weights::{Source, WeightFile};
use crate::{Error, Result};

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

/// One changed layer.
#[derive(Clone, Default)]
struct Change {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

/// An opened LoRA file.
pub struct Lora {
    origin: String,
    source: Arc<dyn Source>,
    /// By the layer's key in the file.
    changes: BTreeMap<String, Change>,
}

/// Endings of the two factors in the dialects.
const DOWN: [&str; 4] = [".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight"];
const UP: [&str; 4] = [".lora_up.weight", ".lora_B.weight", ".lora.up.weight", "_lora.up.weight"];

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
    /// A source that holds something else than a plain LoRA.
    pub fn new(origin: String, source: Arc<dyn Source>) -> Result<Self> {
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        for name in source.names() {
            let ending = |endings: &[&str]| {
                endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned)
            };
            if let Some(layer) = ending(&DOWN) {
                changes.entry(layer).or_default().down = Some(name);
            } else if let Some(layer) = ending(&UP) {
                changes.entry(layer).or_default().up = Some(name);
            } else if let Some(layer) = ending(&[".alpha"]) {
                changes.entry(layer).or_default().alpha = Some(name);
            } else {
                let reason =
                    format!("tensor `{name}` is not of a plain LoRA (LoHa, LoKr and DoRA are not supported)");
                return Err(Error::Unsupported { origin, reason });
            }
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
        for (layer, change) in &self.changes {
            let Some(flat) = flat_name(layer, part) else { continue };
            let target = by_flat_name.get(&flat).ok_or_else(|| Error::Unsupported {
                origin: self.origin.clone(),
                reason: format!("changes layer `{layer}`, which this model does not have"),
            })?;
            targets.insert(target.clone(), change.clone());
        }
        Ok(Arc::new(Merged { source, lora: Arc::clone(self), targets, strength }))
    }

    /// strength·(alpha/rank)·up·down in f32, of the given shape.
    fn delta(&self, target: &str, change: &Change, shape: &[usize], strength: f64) -> Result<Tensor> {
        let factor = |name: &Option<String>| -> Result<Tensor> {
            let missing =
                || Error::Missing { origin: self.origin.clone(), name: format!("up or down of {target}") };
            Ok(self.source.read(name.as_ref().ok_or_else(missing)?)?.to_dtype(DType::F32)?)
        };
        let (down, up) = (factor(&change.down)?.flatten_from(1)?, factor(&change.up)?.flatten_from(1)?);
        let rank = down.dim(0)?;
        let alpha = match &change.alpha {
            Some(_) => f64::from(factor(&change.alpha)?.flatten_all()?.get(0)?.to_scalar::<f32>()?),
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

/// The changed layer in diffusers' or transformers' words with `_` for `.`; None: it belongs to another part.
fn flat_name(layer: &str, part: LoraPart) -> Option<String> {
    let (kohya, diffusers) = match part {
        LoraPart::UNet { .. } => ("lora_unet_", "unet."),
        LoraPart::ClipL => ("lora_te1_", "text_encoder."),
        LoraPart::ClipG => ("lora_te2_", "text_encoder_2."),
    };
    if let Some(rest) = layer.strip_prefix(diffusers) {
        // Old diffusers files put the factors into attention processors.
        let flat = rest.replace(".processor.", ".").replace('.', "_");
        return Some(if flat.ends_with("_to_out") { flat + "_0" } else { flat });
    }
    let flat = layer.strip_prefix(kohya)?;
    match part {
        LoraPart::UNet { res_blocks } => {
            Some(from_single_file(flat, res_blocks).unwrap_or_else(|| flat.to_owned()))
        }
        _ => Some(flat.to_owned()),
    }
}

/// A flattened single-file name (`input_blocks_4_1_proj_in`) as a flattened diffusers name.
fn from_single_file(flat: &str, res_blocks: usize) -> Option<String> {
    // The groups, and the numbers that follow each: input_blocks.4.1.proj_in.
    let groups = [
        ("input_blocks", 2),
        ("output_blocks", 2),
        ("middle_block", 1),
        ("time_embed", 1),
        ("label_emb", 1),
        ("out", 1),
    ];
    let (group, numbers, rest) = groups
        .into_iter()
        .find_map(|(group, numbers)| Some((group, numbers, flat.strip_prefix(group)?.strip_prefix('_')?)))?;
    let rest = rest.replacen('_', ".", numbers).replace("_layers_", "_layers.");
    let diffusers = keys::unet(&format!("{group}.{rest}."), res_blocks)?;
    Some(diffusers.trim_end_matches('.').replace('.', "_"))
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
