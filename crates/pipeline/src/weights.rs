//! Where an SDXL profile's weights are on this machine: in the model cache, or beside the profile.

use std::path::PathBuf;

use sdxl::{SdxlProfile, WeightFiles};

use crate::Error;
use crate::hub::{Hub, Manifest, manifest};

/// The files of the model hub that a profile names, each once.
pub(crate) fn downloads(profile: &SdxlProfile) -> Vec<&'static Manifest> {
    let mut found: Vec<&'static Manifest> = Vec::new();
    profile.weights.map(|_, file| {
        found.extend(manifest(file).filter(|wanted| !found.contains(wanted)));
    });
    found
}

/// The path of every file: of a name of the hub's list in `hub`'s cache, of anything else relative to the profile.
///
/// # Errors
/// [`Error::Profile`] naming the keys of all files that are not there, and the one command that fetches what can be
/// fetched.
pub(crate) fn locate(profile: &SdxlProfile, hub: &Hub) -> Result<WeightFiles<PathBuf>, Error> {
    let mut not_in_cache = Vec::new();
    let mut complaints = Vec::new();
    let files = profile.weights.map(|key, file| {
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
        let path = profile.folder.join(file);
        if !path.exists() {
            complaints.push(format!(
                "{key}: {} is not there, and {file:?} is no name of `material-transfer models list`",
                path.display()
            ));
        }
        path
    });
    if !not_in_cache.is_empty() {
        complaints.push(to_be_pulled(profile, hub, &not_in_cache));
    }
    match complaints.as_slice() {
        [] => Ok(files),
        _ => Err(Error::Profile(format!("profile {}: {}", profile.origin, complaints.join("\n")))),
    }
}

/// What is to be fetched for these keys, and how.
fn to_be_pulled(profile: &SdxlProfile, hub: &Hub, keys: &[String]) -> String {
    let needed = downloads(profile);
    let absent: Vec<&Manifest> =
        needed.iter().copied().filter(|manifest| hub.locate(manifest).is_none()).collect();
    format!(
        "{} of {} files ({}) are not in the model cache, {}: {}; fetch them with\nmaterial-transfer models pull {}",
        absent.len(),
        needed.len(),
        hub.total(&absent),
        hub.folder().display(),
        keys.join(", "),
        profile.origin
    )
}
