//! Where a profile's weights lie on this machine.

use std::path::PathBuf;

use crate::Error;
use crate::hub::{Hub, manifest};
use crate::profile::SdxlProfile;

/// The paths of a profile's weights, all of them there.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) checkpoint: PathBuf,
    pub(super) vae: Option<PathBuf>,
    pub(super) background: PathBuf,
    pub(super) clip_vision: PathBuf,
    pub(super) ip_adapter_medium: PathBuf,
    pub(super) ip_adapter_strong: PathBuf,
    pub(super) t2i_depth: PathBuf,
    pub(super) t2i_lineart: PathBuf,
    pub(super) depth: PathBuf,
    pub(super) lineart: PathBuf,
    /// With their strengths.
    pub(super) loras: Vec<(PathBuf, f64)>,
}

impl Files {
    /// Looks every file up: a name of the hub's list in the cache, anything else as a path.
    ///
    /// # Errors
    /// [`Error::Profile`] naming the key, the file and how to get it.
    pub(super) fn locate(profile: &SdxlProfile, hub: &Hub) -> Result<Self, Error> {
        let weights = &profile.weights;
        let find = |key: &str, file: &str| -> Result<PathBuf, Error> {
            let missing = |what: String| Err(Error::Profile(format!("weights.{key}: {what}")));
            if let Some(manifest) = manifest(file) {
                return match hub.locate(manifest) {
                    Some(path) => Ok(path),
                    None => missing(format!(
                        "{file} is not in the model cache ({}); fetch it with `material-transfer models pull {file}`",
                        hub.folder().display()
                    )),
                };
            }
            let path = profile.path_of(file);
            match path.exists() {
                true => Ok(path),
                false => missing(format!(
                    "{} is not there, and {file:?} is no name of `material-transfer models list`",
                    path.display()
                )),
            }
        };
        Ok(Self {
            checkpoint: find("checkpoint", &weights.checkpoint)?,
            vae: weights.vae.as_deref().map(|file| find("vae", file)).transpose()?,
            background: find("background", &weights.background)?,
            clip_vision: find("clip_vision", &weights.clip_vision)?,
            ip_adapter_medium: find("ip_adapter_medium", &weights.ip_adapter_medium)?,
            ip_adapter_strong: find("ip_adapter_strong", &weights.ip_adapter_strong)?,
            t2i_depth: find("t2i_depth", &weights.t2i_depth)?,
            t2i_lineart: find("t2i_lineart", &weights.t2i_lineart)?,
            depth: find("depth", &weights.depth)?,
            lineart: find("lineart", &weights.lineart)?,
            loras: weights
                .loras
                .iter()
                .map(|lora| Ok((find("loras", &lora.file)?, lora.strength)))
                .collect::<Result<_, Error>>()?,
        })
    }
}
