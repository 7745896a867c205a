//! The pictures of a transfer, whatever stands for them: what a client gave, where they are stored, decoded pixels.

use serde::{Deserialize, Serialize};

/// The most masks of a request, and the most materials.
pub const MOST_REGIONS: usize = 4;

/// The pictures of one transfer. [`masks`](Self::masks) come with one material for all of them or with one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures<T> {
    /// Whose material is taken; `None` only where [`materials`](Self::materials) says it for each mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material_image: Option<T>,
    /// What gets the material.
    pub subject_image: T,
    /// Which part of it gets the material, instead of what is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_mask: Option<T>,
    /// A second material to mix in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blend_image: Option<T>,
    /// Regions that each get a material; where they overlap, the later one counts.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<T>,
    /// The masks' materials, in their order.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub materials: Vec<T>,
}

/// A part of the subject picture and its material.
#[derive(Debug)]
pub struct Region<'a, T> {
    /// The given mask, with its name; `None`: it is to be found.
    pub mask: Option<(&'static str, &'a T)>,
    /// What it is made of.
    pub material: &'a T,
}

/// The names of the pictures in lists, as errors call them.
const MASK_NAMES: [&str; MOST_REGIONS] = ["masks[0]", "masks[1]", "masks[2]", "masks[3]"];
const MATERIAL_NAMES: [&str; MOST_REGIONS] = ["materials[0]", "materials[1]", "materials[2]", "materials[3]"];

impl<T> Pictures<T> {
    /// A subject and a material, and nothing else.
    #[must_use]
    pub fn pair(subject_image: T, material_image: T) -> Self {
        Self {
            material_image: Some(material_image),
            subject_image,
            subject_mask: None,
            blend_image: None,
            masks: Vec::new(),
            materials: Vec::new(),
        }
    }

    /// What gets which material, in the order in which it is painted. One region whose mask is to be found where there are no
    /// masks; none where there is no material.
    #[must_use]
    pub fn regions(&self) -> Vec<Region<'_, T>> {
        let material = |at: usize| self.materials.get(at).or(self.material_image.as_ref());
        if self.masks.is_empty() {
            let mask = self.subject_mask.as_ref().map(|mask| ("subject_mask", mask));
            return material(0).map(|material| Region { mask, material }).into_iter().collect();
        }
        let masks = MASK_NAMES.into_iter().zip(&self.masks).enumerate();
        masks.filter_map(|(at, mask)| Some(Region { mask: Some(mask), material: material(at)? })).collect()
    }

    /// All of them with their names, in the order in which they are fetched and decoded.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let pictures = Pictures {
            material_image: self.material_image.as_ref(),
            subject_image: &self.subject_image,
            subject_mask: self.subject_mask.as_ref(),
            blend_image: self.blend_image.as_ref(),
            masks: self.masks.iter().collect(),
            materials: self.materials.iter().collect(),
        };
        pictures.into_iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut T)> {
        let pictures = Pictures {
            material_image: self.material_image.as_mut(),
            subject_image: &mut self.subject_image,
            subject_mask: self.subject_mask.as_mut(),
            blend_image: self.blend_image.as_mut(),
            masks: self.masks.iter_mut().collect(),
            materials: self.materials.iter_mut().collect(),
        };
        pictures.into_iter()
    }

    /// The same places with nothing in them.
    #[must_use]
    pub fn places(&self) -> Pictures<()> {
        Pictures {
            material_image: self.material_image.as_ref().map(|_| ()),
            subject_image: (),
            subject_mask: self.subject_mask.as_ref().map(|_| ()),
            blend_image: self.blend_image.as_ref().map(|_| ()),
            masks: vec![(); self.masks.len()],
            materials: vec![(); self.materials.len()],
        }
    }

    /// The same pictures, each turned into something else, in the order of [`iter`](Self::iter).
    ///
    /// # Errors
    /// The first that `turn` has.
    pub fn try_map<U, E>(
        self,
        mut turn: impl FnMut(&'static str, T) -> Result<U, E>,
    ) -> Result<Pictures<U>, E> {
        Ok(Pictures {
            material_image: self.material_image.map(|picture| turn("material_image", picture)).transpose()?,
            subject_image: turn("subject_image", self.subject_image)?,
            subject_mask: self.subject_mask.map(|picture| turn("subject_mask", picture)).transpose()?,
            blend_image: self.blend_image.map(|picture| turn("blend_image", picture)).transpose()?,
            masks: all(MASK_NAMES, self.masks, &mut turn)?,
            materials: all(MATERIAL_NAMES, self.materials, &mut turn)?,
        })
    }
}

impl<T> IntoIterator for Pictures<T> {
    type Item = (&'static str, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    /// All of them with their names, in the order in which they are fetched and decoded.
    fn into_iter(self) -> Self::IntoIter {
        let named = |(name, picture): (&'static str, Option<T>)| Some((name, picture?));
        let single = [
            ("material_image", self.material_image),
            ("subject_image", Some(self.subject_image)),
            ("subject_mask", self.subject_mask),
            ("blend_image", self.blend_image),
        ];
        let (masks, materials) =
            (MASK_NAMES.into_iter().zip(self.masks), MATERIAL_NAMES.into_iter().zip(self.materials));
        let all = single.into_iter().filter_map(named).chain(masks).chain(materials);
        all.collect::<Vec<_>>().into_iter()
    }
}

impl Pictures<()> {
    /// These places with `contents` in them, in the order of [`iter`](Self::iter). `None` if those are too few.
    pub fn filled<T>(self, contents: impl IntoIterator<Item = T>) -> Option<Pictures<T>> {
        let mut contents = contents.into_iter();
        self.try_map(|_, ()| contents.next().ok_or(())).ok()
    }
}

fn all<T, U, E>(
    names: [&'static str; MOST_REGIONS],
    pictures: Vec<T>,
    mut turn: impl FnMut(&'static str, T) -> Result<U, E>,
) -> Result<Vec<U>, E> {
    names.into_iter().zip(pictures).map(|(name, picture)| turn(name, picture)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_walks_name_the_same_in_the_same_order() {
        let pictures = Pictures {
            material_image: Some(1),
            subject_image: 2,
            subject_mask: Some(3),
            blend_image: Some(4),
            masks: vec![5, 6],
            materials: vec![7, 8],
        };
        let mut seen = Vec::new();
        let same = pictures.clone().try_map(|name, n| {
            seen.push((name, n));
            Ok::<_, ()>(n)
        });
        assert_eq!(same.as_ref(), Ok(&pictures));
        assert_eq!(seen, pictures.iter().map(|(name, n)| (name, *n)).collect::<Vec<_>>());
        assert_eq!(seen, pictures.clone().iter_mut().map(|(name, n)| (name, *n)).collect::<Vec<_>>());
        assert_eq!(seen, pictures.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(pictures.places().filled(1..=8), Some(pictures.clone()));
        assert_eq!(pictures.places().filled(1..=7), None);
        assert_eq!(seen.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_pair_is_stored_as_it_always_was() {
        let stored = serde_json::to_string(&Pictures::pair("s", "m")).expect("JSON");
        assert_eq!(stored, r#"{"material_image":"m","subject_image":"s"}"#);
        assert_eq!(serde_json::from_str::<Pictures<&str>>(&stored).expect("read"), Pictures::pair("s", "m"));
    }
}
