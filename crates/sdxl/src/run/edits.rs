//! Changes of the material's character: what `[weights.edits]` adds to the embedding of its picture.

use networks::clip::vision::ImageStates;

use super::Run;
use crate::Error;

impl Run<'_> {
    /// Refuses what this profile has no network for, before anything is computed.
    pub(super) fn check_edits(&self) -> Result<(), Error> {
        let Some((field, _)) = self.settings.edits.asked().next() else { return Ok(()) };
        let message = |text: &str| text.to_owned();
        if !self.engine.models.reads_embedding(self.settings.strength) {
            let message = message("has no effect on this material_strength; use the other one");
            return Err(Error::Unfit { field, message });
        }
        let missing = self.settings.edits.asked().find(|(name, _)| !self.engine.models.has_edit(name));
        match missing {
            None => Ok(()),
            Some((field, _)) => {
                let message =
                    message("the server's profile has no network for it (weights.edits); leave it out");
                Err(Error::Unfit { field, message })
            }
        }
    }

    /// The impression of a material with the changes that were asked for.
    pub(super) fn edited(&self, seen: ImageStates) -> Result<ImageStates, Error> {
        if self.settings.edits.asked().next().is_none() {
            return Ok(seen);
        }
        let networks = self.engine.models.edits()?;
        let mut embedding = seen.embedding.clone();
        for (name, amount) in self.settings.edits.asked() {
            let strength = amount * self.engine.conditioning.edits.of(name);
            if let Some(network) = networks.of(name) {
                // Each looks at the material as it was given.
                embedding = (embedding + network.change(&seen.embedding, strength)?)?;
            }
        }
        Ok(ImageStates { embedding, ..seen })
    }
}
