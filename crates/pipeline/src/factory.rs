//! From a profile to the engine that it describes.

use candle_core::Device;
use exemplar::{Exemplar, ExemplarProfile};
use sdxl::Sdxl;

use crate::hub::Hub;
use crate::profile::Profile;
use crate::{Engine, Error, weights};

/// Whether the files are all there that [`engine()`] will read; it says the same about them.
///
/// # Errors
/// [`Error::Profile`] naming those that are not, with the command that fetches them.
pub fn check_files(profile: &Profile) -> Result<(), Error> {
    match profile {
        Profile::Exemplar(_) => Ok(()),
        Profile::Sdxl(profile) => weights::locate(profile, &Hub::from_env()).map(drop),
    }
}

/// Makes the engine that `profile` describes, on `device`.
///
/// # Errors
/// [`Error::Profile`] when the profile's numbers or weights cannot be used.
pub fn engine(profile: &Profile, device: &Device) -> Result<Box<dyn Engine>, Error> {
    match profile {
        Profile::Exemplar(profile) => Ok(Box::new(Exemplar::new(profile, device)?)),
        Profile::Sdxl(profile) => {
            let files = weights::locate(profile, &Hub::from_env())?;
            let sdxl = Sdxl::new(profile, files, device)?;
            if !profile.is_hybrid() {
                return Ok(Box::new(sdxl));
            }
            // Its networks are small, and the card's memory is the other engine's.
            let painter = Exemplar::new(&ExemplarProfile::parse(exemplar::PROFILE)?, &Device::Cpu)?;
            Ok(Box::new(sdxl.starting_from(Box::new(painter), profile.hybrid.denoise)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{EMBEDDED, load};

    #[test]
    fn the_embedded_engine_needs_no_files() {
        let engine = engine(&load("exemplar").expect("loads"), &Device::Cpu).expect("needs no files");
        assert_eq!(engine.name(), "exemplar");
    }

    #[test]
    fn weights_that_are_not_there_are_named_with_the_remedy() {
        let Profile::Sdxl(profile) = load("juggernaut-x").expect("loads") else { panic!("an SDXL profile") };
        let empty = tempfile::tempdir().expect("folder");
        let hub = Hub::at(empty.path().to_owned(), None, None, true);
        let error = weights::locate(&profile, &hub).expect_err("no weights").to_string();
        assert!(error.contains("weights.checkpoint"), "{error}");
        assert!(error.contains("material-transfer models pull juggernaut-x"), "{error}");
    }

    #[test]
    fn everything_that_is_absent_is_told_at_once_with_one_command() {
        let empty = tempfile::tempdir().expect("folder");
        let hub = Hub::at(empty.path().to_owned(), None, None, true);
        let juggernaut = EMBEDDED.iter().find(|(name, _)| *name == "juggernaut-x").expect("embedded").1;
        let text = juggernaut.replace("\"u2net\"", "\"mine.onnx\"");
        let text = text.replace("\"lineart\"", "\"lines.pth\"");
        let path = empty.path().join("mine.toml");
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("utf-8");
        let Profile::Sdxl(profile) = load(path).expect("loads") else { panic!("an SDXL profile") };
        let error = weights::locate(&profile, &hub).expect_err("no weights").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 4, "all at once: {error}");
        assert!(lines[0].contains("weights.background") && lines[0].contains("mine.onnx"), "{error}");
        assert!(lines[1].contains("weights.lineart") && lines[1].contains("lines.pth"), "{error}");
        assert!(lines[2].starts_with("7 of 7 files (~13") && lines[2].contains("weights.depth"), "{error}");
        assert_eq!(lines[3], format!("material-transfer models pull {path}"));
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        let Profile::Exemplar(mut profile) = load("exemplar").expect("loads") else {
            panic!("the embedded engine's")
        };
        profile.exemplar.relief_broad = 2.5;
        let error = engine(&Profile::Exemplar(profile), &Device::Cpu).err().expect("refused").to_string();
        assert!(error.contains("exemplar.relief_broad is 2.5"), "{error}");
    }
}
