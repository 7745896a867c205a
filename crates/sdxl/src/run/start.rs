//! Where a hybrid transfer sets out from.

use image::RgbImage;

use super::course::{Stage, Within};
use super::{Run, Subject};
use crate::{Error, Picture, Settings, Transfer, save};

impl Run<'_> {
    /// The picture that a hybrid transfer sets out from: another engine's, inside the same mask.
    pub(super) fn start(
        &mut self,
        transfer: &Transfer,
        subject: &Subject,
    ) -> Result<Option<RgbImage>, Error> {
        let Some((painter, _)) = &self.engine.start else { return Ok(None) };
        self.enter(Stage::Start)?;
        let (width, height) = subject.picture.dimensions();
        let mut pictures = transfer.pictures.clone();
        pictures.subject_image = Picture::opaque(subject.picture.clone());
        if pictures.masks.is_empty() {
            pictures.subject_mask = Some(Picture::opaque(save::grey(&subject.mask)));
        }
        let settings = Settings {
            max_width: width,
            max_height: height,
            feather: 0.0,
            intermediates: false,
            ..self.settings.clone()
        };
        let made = painter.transfer(
            &Transfer { pictures, settings },
            &Within(&self.course, Stage::Start),
            self.cancel,
        )?;
        self.keep("start", &made.picture.rgb);
        self.clock.lap(Stage::Start.name());
        Ok(Some(made.picture.rgb))
    }
}
