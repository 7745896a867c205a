//! Where an SDXL profile's weights are: as the profile names them, and as they are found on this machine.

use std::path::PathBuf;

use serde::Deserialize;

use super::SdxlProfile;
use crate::Error;
use crate::hub::{Hub, Manifest, manifest};

/// Where the weights are. In a profile each is a name of the model hub's list (`material-transfer models list`) or a path,
/// relative to the profile's folder; [`SdxlProfile::locate`] makes paths of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the names say it
pub struct WeightFiles<File = String> {
    pub checkpoint: File,
    /// Another autoencoder than the checkpoint's.
    pub vae: Option<File>,
    pub background: File,
    pub clip_vision: File,
    pub ip_adapter_medium: File,
    pub ip_adapter_strong: File,
    pub t2i_depth: File,
    pub t2i_lineart: File,
    pub depth: File,
    pub lineart: File,
    /// Merged into the checkpoint at load, in this order.
    #[serde(default = "Vec::new")]
    pub loras: Vec<LoraFile<File>>,
}

/// A LoRA and how strongly it is merged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraFile<File = String> {
    /// Name or path.
    pub file: File,
    /// Factor on its change; negative takes away.
    #[serde(default = "super::sdxl::one")]
    pub strength: f64,
}

impl<File> WeightFiles<File> {
    /// Puts what `f` makes of a key and its file in every file's place.
    pub fn map<'a, To>(&'a self, mut f: impl FnMut(&'static str, &'a File) -> To) -> WeightFiles<To> {
        WeightFiles {
            checkpoint: f("checkpoint", &self.checkpoint),
            background: f("background", &self.background),
            clip_vision: f("clip_vision", &self.clip_vision),
            ip_adapter_medium: f("ip_adapter_medium", &self.ip_adapter_medium),
            ip_adapter_strong: f("ip_adapter_strong", &self.ip_adapter_strong),
            t2i_depth: f("t2i_depth", &self.t2i_depth),
            t2i_lineart: f("t2i_lineart", &self.t2i_lineart),
            depth: f("depth", &self.depth),
            lineart: f("lineart", &self.lineart),
            vae: self.vae.as_ref().map(|file| f("vae", file)),
            loras: self
                .loras
                .iter()
                .map(|lora| LoraFile { file: f("loras", &lora.file), strength: lora.strength })
                .collect(),
        }
    }
}

impl SdxlProfile {
    /// The files of the model hub that this profile names, each once.
    #[must_use]
    pub fn downloads(&self) -> Vec<&'static Manifest> {
        let mut found: Vec<&'static Manifest> = Vec::new();
        self.weights.map(|_, file| {
            found.extend(manifest(file).filter(|wanted| !found.contains(wanted)));
        });
        found
    }

    /// The path of every file: of a name of the hub's list in `hub`'s cache, of anything else relative to the profile.
    ///
    /// # Errors
    /// [`Error::Profile`] naming the keys of all files that are not there, and the one command that fetches what can be
    /// fetched.
    pub fn locate(&self, hub: &Hub) -> Result<WeightFiles<PathBuf>, Error> {
        let mut not_in_cache = Vec::new();
        let mut complaints = Vec::new();
        let files = self.weights.map(|key, file| {
            let key = format!("weights.{key}");
            if let Some(manifest) = manifest(file) {
                let found = hub.verified(manifest).unwrap_or_else(|error| {
                    complaints.push(format!("{key}: {error}"));
                    Some(PathBuf::new()) // which nobody sees: there is a complaint
                });
                return found.unwrap_or_else(|| {
                    not_in_cache.push(key);
                    PathBuf::new()
                });
            }
            let path = self.folder.join(file);
            if !path.exists() {
                complaints.push(format!(
                    "{key}: {} is not there, and {file:?} is no name of `material-transfer models list`",
                    path.display()
                ));
            }
            path
        });
        if !not_in_cache.is_empty() {
            complaints.push(self.to_be_pulled(hub, &not_in_cache));
        }
        match complaints.as_slice() {
            [] => Ok(files),
            _ => Err(Error::Profile(format!("profile {}: {}", self.origin, complaints.join("\n")))),
        }
    }

    /// What is to be fetched for these keys, and how.
    fn to_be_pulled(&self, hub: &Hub, keys: &[String]) -> String {
        let needed = self.downloads();
        let absent: Vec<&Manifest> =
            needed.iter().copied().filter(|manifest| hub.locate(manifest).is_none()).collect();
        format!(
            "{} of {} files ({}) are not in the model cache, {}: {}; fetch them with\nmaterial-transfer models pull {}",
            absent.len(),
            needed.len(),
            hub.total(&absent),
            hub.folder().display(),
            keys.join(", "),
            self.origin
        )
    }
}
