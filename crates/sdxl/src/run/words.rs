//! What an outcome says beside its picture.

use diffusion::is_unguided;

use super::Run;
use crate::{MaterialFit, Transfer};

/// A material whose longer side exceeds this many shorter ones loses something worth a note when its centre is cut out.
const LONGISH: f64 = 1.25;

impl Run<'_> {
    /// Parameters that had no effect.
    pub(super) fn ignored(&self) -> Vec<&'static str> {
        let sampling = &self.engine.sampling;
        let mut ignored = Vec::new();
        if sampling.steps.is_some() {
            ignored.push("steps");
        }
        if sampling.guidance_scale.is_some() {
            ignored.push("guidance_scale");
        }
        if is_unguided(self.guidance) && !self.settings.negative_prompt.is_empty() {
            ignored.push("negative_prompt");
        }
        ignored
    }

    /// What somebody would want to know about the picture.
    pub(super) fn notes(&self, transfer: &Transfer) -> Vec<String> {
        let mut notes = Vec::new();
        let unused = transfer.subject().alpha.is_some() && !self.engine.corrected.alpha;
        if unused && transfer.pictures.regions().iter().any(|r| r.mask.is_none()) {
            notes.push("the subject's alpha channel was not used: its mask is the network's".to_owned());
        }
        if self.settings.fit == MaterialFit::Crop {
            let regions = transfer.pictures.regions();
            let long = regions
                .iter()
                .map(|region| region.material.rgb.dimensions())
                .find(|(w, h)| f64::from(*w.max(h)) > LONGISH * f64::from(*w.min(h)));
            notes.extend(long.map(|(w, h)| {
                format!(
                    "of the material picture ({w}×{h}) only the central square is seen; material_fit = \"tiles\" or \
                     \"pad\" shows all of it"
                )
            }));
        }
        // At the first noise level the mask admits no pixel, and one step has no other.
        if self.sigmas.len() == 2 {
            notes.push("one step paints nothing: ask for 2 steps or more".to_owned());
        }
        notes
    }
}
