//! A diffusers folder: a sub-folder for each network, with one file or several shards and their index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{PredictionType, edm};
use crate::weights::{self, Joined, Source, WeightFile};
use crate::{Error, Result};

/// Names diffusers and transformers give their files, best first.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
const ENDINGS: [&str; 2] = ["safetensors", "fp16.safetensors"];
const TORCH: [&str; 2] = ["diffusion_pytorch_model.bin", "pytorch_model.bin"];

pub(super) struct Folder(PathBuf);

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Scheduler {
    #[serde(default, rename = "_class_name")]
    class_name: String,
    #[serde(default)]
    prediction_type: Option<String>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !path.join("unet").is_dir() {
            return Err(Error::file(path, "has no folder `unet` in it: not a diffusers model"));
        }
        Ok(Self(path.to_path_buf()))
    }

    /// What `scheduler/scheduler_config.json` says the UNet predicts; noise, where there is no such file.
    pub(super) fn prediction(&self) -> Result<PredictionType> {
        let path = self.0.join("scheduler/scheduler_config.json");
        if !path.exists() {
            return Ok(PredictionType::Eps);
        }
        let scheduler: Scheduler = read_json(&path)?;
        if scheduler.class_name.starts_with("EDM") {
            return Err(edm(&self.0));
        }
        match scheduler.prediction_type.as_deref() {
            None | Some("epsilon") => Ok(PredictionType::Eps),
            Some("v_prediction") => Ok(PredictionType::V),
            Some(other) => Err(Error::Unsupported {
                origin: path.display().to_string(),
                reason: format!("prediction_type `{other}` is not supported; epsilon and v_prediction are"),
            }),
        }
    }

    /// The tensors of one network.
    pub(super) fn part(&self, name: &str) -> Result<Arc<dyn Source>> {
        let folder = self.0.join(name);
        for ending in ENDINGS {
            for stem in STEMS {
                let file = folder.join(format!("{stem}.{ending}"));
                if file.exists() {
                    return weights::open(&file);
                }
                let index = folder.join(match ending.strip_suffix(".safetensors") {
                    Some(variant) => format!("{stem}.safetensors.index.{variant}.json"),
                    None => format!("{stem}.safetensors.index.json"),
                });
                if index.exists() {
                    return shards(&folder, &index);
                }
            }
        }
        let torch = TORCH.iter().map(|file| folder.join(file)).find(|file| file.exists());
        match torch {
            Some(file) => weights::open(&file),
            None => Err(Error::file(&folder, "holds no weights (model.safetensors and the like)")),
        }
    }
}

fn shards(folder: &Path, index: &Path) -> Result<Arc<dyn Source>> {
    let map: ShardIndex = read_json(index)?;
    let mut parts: Vec<Arc<dyn Source>> = Vec::new();
    for file in map.weight_map.values().collect::<BTreeSet<_>>() {
        if Path::new(file).components().count() != 1 || file.contains("..") {
            return Err(Error::file(index, format!("names `{file}`, which is not a file beside it")));
        }
        parts.push(Arc::new(WeightFile::open(&folder.join(file))?));
    }
    Ok(weights::scaled(index.display().to_string(), Arc::new(Joined(parts))))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| Error::file(path, format!("is not as expected: {error}")))
}
