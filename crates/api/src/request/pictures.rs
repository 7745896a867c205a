//! The fields of a request that hold pictures, and what they say against each other.

use super::Reader;
use crate::error::FieldError;
use crate::image_source::ImageSource;
use crate::parameter::{Described, Image, Images, Parameter};
use crate::pictures::Pictures;

const MATERIAL_IMAGE: Parameter<Image> = Parameter {
    name: "material_image",
    description: "The picture whose material is taken",
    kind: Image { required: true },
};

const SUBJECT_IMAGE: Parameter<Image> = Parameter {
    name: "subject_image",
    description: "The picture whose subject gets the material",
    kind: Image { required: true },
};

const SUBJECT_MASK: Parameter<Image> = Parameter {
    name: "subject_mask",
    description: "What gets the material, instead of the subject that is found: white, or the opaque part of a picture \
        with transparency; of the subject's shape, at any size",
    kind: Image { required: false },
};

const BLEND_IMAGE: Parameter<Image> = Parameter {
    name: "blend_image",
    description: "A second material; `material_blend` says how much of it is mixed in",
    kind: Image { required: false },
};

const MASKS: Parameter<Images> = Parameter {
    name: "masks",
    description: "Regions that get a material, each like `subject_mask`; where two overlap, the later one counts",
    kind: Images,
};

const MATERIALS: Parameter<Images> = Parameter {
    name: "materials",
    description: "The materials of `masks`, one for each and in their order; `material_image`, which is for all, is not \
        needed then and not used",
    kind: Images,
};

/// Every field that holds pictures: those of the hosted model, then this server's own.
pub(super) const FIRST: [&dyn Described; 2] = [&MATERIAL_IMAGE, &SUBJECT_IMAGE];
pub(super) const FURTHER: [&dyn Described; 4] = [&SUBJECT_MASK, &BLEND_IMAGE, &MASKS, &MATERIALS];

/// The names of the fields that hold a picture.
pub(crate) const PICTURES: &[&str] =
    &[MATERIAL_IMAGE.name, SUBJECT_IMAGE.name, SUBJECT_MASK.name, BLEND_IMAGE.name];

/// The names of the fields that hold several.
pub(crate) const LISTS: &[&str] = &[MASKS.name, MATERIALS.name];

/// Reads all of them.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Pictures<ImageSource>> {
    // Where each mask has its own material, there need not be one for all; generated clients send one all the same.
    let paired = reader.given.holds(MATERIALS.name);
    let material_image = if paired { Some(None) } else { reader.value(&MATERIAL_IMAGE) };
    let subject_image = reader.value(&SUBJECT_IMAGE);
    let subject_mask = reader.value(&SUBJECT_MASK);
    let blend_image = reader.value(&BLEND_IMAGE);
    let masks = reader.value(&MASKS);
    let materials = reader.value(&MATERIALS);
    let pictures = Pictures {
        material_image: material_image?,
        subject_image: subject_image??,
        subject_mask: subject_mask?,
        blend_image: blend_image?,
        masks: masks?,
        materials: materials?,
    };
    match contradiction(&pictures) {
        None => Some(pictures),
        Some((field, message)) => {
            reader.bad.push(FieldError { field, message });
            None
        }
    }
}

/// What the pictures of a request say against each other.
fn contradiction<T>(pictures: &Pictures<T>) -> Option<(&'static str, String)> {
    let (masks, materials) = (pictures.masks.len(), pictures.materials.len());
    if materials > 0 && masks != materials {
        let say = format!("one for each of masks: there are {masks} masks and {materials} materials");
        return Some((MATERIALS.name, say));
    }
    if masks > 0 && pictures.subject_mask.is_some() {
        return Some((SUBJECT_MASK.name, "give either this or masks".to_owned()));
    }
    if materials > 0 && pictures.blend_image.is_some() {
        return Some((BLEND_IMAGE.name, "is for one material, not for one for each mask".to_owned()));
    }
    None
}
