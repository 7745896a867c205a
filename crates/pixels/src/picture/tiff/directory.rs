//! The directory of a TIFF file (revision 6.0, and BigTIFF): what it says, and whether the values that it points to lie within
//! the file. The decoder makes room for as many as an entry announces before it finds that they are not there: 32 bytes each,
//! of up to a quarter of a gigabyte.

use std::io::{self, Read, Seek, SeekFrom};

/// The tags that say how pixels are stored, and the colour profile. What else a file carries is read by nobody.
const READ: [u16; 28] = [
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332,
    338, 339, 347, 529, 530, 532, 34675,
];

/// An entry of the directory.
#[derive(Debug)]
struct Field {
    tag: u16,
    kind: u64,
    count: usize,
    /// Where the entry begins.
    entry: usize,
    /// Where its values begin.
    values: usize,
}

/// The first directory of a file.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
    fields: Vec<Field>,
}

impl<'a> Directory<'a> {
    /// Reads it; `None` if it, or a value that it points to, is not all there, or one stands there twice.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut directory = Self { bytes, little: bytes.starts_with(b"II"), big: false, fields: Vec::new() };
        let (first, count, width) = match directory.at(2, 2)? {
            42 => (directory.at(4, 4)?, 2, 4),
            43 => (directory.at(8, 8)?, 8, 8),
            _ => return None,
        };
        directory.big = width == 8;
        let first = usize::try_from(first).ok()?;
        let entries = first.checked_add(count)?;
        // Tag and type, the number of values, and the values or where they are.
        let size = 4 + 2 * width;
        for number in 0..usize::try_from(directory.at(first, count)?).ok()? {
            let entry = entries.checked_add(number.checked_mul(size)?)?;
            let (tag, kind) = (directory.at(entry, 2)? as u16, directory.at(entry + 2, 2)?);
            let count = usize::try_from(directory.at(entry + 4, width)?).ok()?;
            let inside = entry + 4 + width;
            directory.at(inside, width)?;
            if !READ.contains(&tag) {
                continue;
            }
            let length = count.checked_mul(size_of_kind(kind))?;
            let values =
                if length <= width { inside } else { directory.at(inside, width)?.try_into().ok()? };
            if values.checked_add(length)? > bytes.len() || directory.field(tag).is_some() {
                return None;
            }
            directory.fields.push(Field { tag, kind, count, entry, values });
        }
        Some(directory)
    }

    /// The number of `length` bytes at `at`, in the file's byte order.
    fn at(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }

    fn field(&self, tag: u16) -> Option<&Field> {
        self.fields.iter().find(|field| field.tag == tag)
    }

    pub(super) fn has(&self, tag: u16) -> bool {
        self.field(tag).is_some()
    }

    /// The whole numbers under a tag; none if it is not there. `None` if they are something else.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let Some(field) = self.field(tag) else { return Some(Vec::new()) };
        if !matches!(field.kind, 1 | 3 | 4 | 13 | 16 | 18) {
            return None;
        }
        let size = size_of_kind(field.kind);
        (0..field.count).map(|place| self.at(field.values + place * size, size)).collect()
    }

    /// The first whole number under a tag, or else `default`.
    pub(super) fn number(&self, tag: u16, default: u64) -> Option<u64> {
        match self.numbers(tag)?.first() {
            None if self.has(tag) => None,
            first => Some(first.copied().unwrap_or(default)),
        }
    }

    /// The one number that is there once for each sample, or else `default`; `None` if they differ.
    pub(super) fn same(&self, tag: u16, default: u64) -> Option<u64> {
        let numbers = self.numbers(tag)?;
        let first = numbers.first().copied().unwrap_or(default);
        numbers.iter().all(|number| *number == first).then_some(first)
    }

    /// The fractions under a tag, or else `default`.
    pub(super) fn ratios<const N: usize>(&self, tag: u16, default: [f32; N]) -> Option<[f32; N]> {
        let Some(field) = self.field(tag) else { return Some(default) };
        let read = |place: usize| match field.kind {
            5 => {
                let at = field.values + place * 8;
                Some(self.at(at, 4)? as f32 / self.at(at + 4, 4)? as f32)
            }
            _ => self.numbers(tag)?.get(place).map(|number| *number as f32),
        };
        let ratios: Vec<f32> = (0..field.count.min(N)).map_while(read).collect();
        ratios.try_into().ok().filter(|ratios: &[f32; N]| ratios.iter().all(|ratio| ratio.is_finite()))
    }

    /// The bytes under a tag.
    pub(super) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let field = self.field(tag)?;
        self.bytes.get(field.values..field.values.checked_add(field.count * size_of_kind(field.kind))?)
    }

    /// The compressed pieces of the picture, from the tags of their places and lengths.
    pub(super) fn pieces(&self, places: u16, lengths: u16) -> Option<Vec<&'a [u8]>> {
        let (places, lengths) = (self.numbers(places)?, self.numbers(lengths)?);
        if places.len() != lengths.len() {
            return None;
        }
        let piece = |(place, length): (&u64, &u64)| {
            let (place, length) = (usize::try_from(*place).ok()?, usize::try_from(*length).ok()?);
            self.bytes.get(place..place.checked_add(length)?)
        };
        places.iter().zip(&lengths).map(piece).collect()
    }

    /// The file with other numbers under tags that it has.
    pub(super) fn with(&self, numbers: &[(u16, u32)]) -> Edited<'a> {
        let edit = |&(tag, number): &(u16, u32)| {
            let field = self.field(tag)?;
            let order = |number: u64, length: usize| {
                let bytes = number.to_be_bytes()[8 - length..].to_vec();
                if self.little { bytes.into_iter().rev().collect() } else { bytes }
            };
            let width = if self.big { 8 } else { 4 };
            // 16 bits where they do: not every reader takes 32 for every tag.
            let (kind, length) = if number > 0xFFFF { (4, 4) } else { (3, 2) };
            let (value, padding) = (order(number.into(), length), vec![0; width - length]);
            let entry = [order(tag.into(), 2), order(kind, 2), order(1, width), value, padding].concat();
            Some((field.entry, entry))
        };
        Edited { bytes: self.bytes, edits: numbers.iter().filter_map(edit).collect(), at: 0 }
    }
}

/// Bytes of one value; kinds that nobody knows count as bytes.
fn size_of_kind(kind: u64) -> usize {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 1,
    }
}

/// A file some of whose bytes are others.
#[derive(Debug)]
pub(super) struct Edited<'a> {
    bytes: &'a [u8],
    edits: Vec<(usize, Vec<u8>)>,
    at: u64,
}

impl Read for Edited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(self.at).unwrap_or(usize::MAX).min(self.bytes.len());
        let length = buffer.len().min(self.bytes.len() - from);
        buffer[..length].copy_from_slice(&self.bytes[from..from + length]);
        for (place, edit) in &self.edits {
            let overlap = from.max(*place)..(from + length).min(place + edit.len());
            if !overlap.is_empty() {
                let into = &mut buffer[overlap.start - from..overlap.end - from];
                into.copy_from_slice(&edit[overlap.start - place..overlap.end - place]);
            }
        }
        self.at = (from + length) as u64;
        Ok(length)
    }
}

impl Seek for Edited<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::End(offset) => (self.bytes.len() as u64, offset),
            SeekFrom::Current(offset) => (self.at, offset),
        };
        self.at = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
