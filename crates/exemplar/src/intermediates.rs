//! The pictures made on the way that a client may ask for.

use super::lines;
use super::raster::Raster;
use super::region::Traces;
use crate::{Intermediate, Picture};

/// Of a transfer onto `subject`, in the order of the API.
pub(crate) fn of(traces: &Traces, subject: &Raster) -> Vec<Intermediate> {
    let shown = |name, raster: &Raster| Intermediate { name, picture: Picture::opaque(raster.to_rgb()) };
    let mut all = Vec::new();
    all.extend(traces.mask.as_ref().map(|mask| shown("mask", mask)));
    all.push(shown("subject_grey", &subject.luma()));
    all.push(shown("lineart", &lines::lines(subject)));
    all.extend(traces.shading.as_ref().map(|shading| shown("shading", shading)));
    all.extend(
        Intermediate::MATERIALS
            .into_iter()
            .zip(&traces.materials)
            .map(|(name, material)| shown(name, material)),
    );
    all
}
