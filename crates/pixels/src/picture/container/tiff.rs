//! TIFF (revision 6.0, and BigTIFF): whether the values that its decoder will read lie within the file. The decoder makes room
//! for as many as an entry announces before it finds that they are not there: 32 bytes each, of up to a quarter of a gigabyte.

/// The tags that say how pixels are stored, and the colour profile. What else a file carries is read by nobody.
const READ: [u16; 28] = [
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347,
    529, 530, 531, 532, 34675,
];

/// Numbers of a file in its own byte order.
struct Numbers<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Numbers<'_> {
    /// The number of `length` bytes at `at`.
    fn at(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }
}

/// Whether the first directory and the values that its entries point to are all there.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    walk(bytes).is_some()
}

fn walk(bytes: &[u8]) -> Option<()> {
    let numbers = Numbers { bytes, little: bytes.starts_with(b"II") };
    let (first, count, width) = match numbers.at(2, 2)? {
        42 => (numbers.at(4, 4)?, 2, 4),
        43 => (numbers.at(8, 8)?, 8, 8),
        _ => return None,
    };
    let first = usize::try_from(first).ok()?;
    let entries = first.checked_add(count)?;
    // Tag and type, the number of values, and the values or where they are.
    let size = 4 + 2 * width;
    for entry in 0..usize::try_from(numbers.at(first, count)?).ok()? {
        let at = entries.checked_add(entry.checked_mul(size)?)?;
        let (tag, kind) = (numbers.at(at, 2)?, numbers.at(at + 2, 2)?);
        let length = numbers.at(at + 4, width)?.checked_mul(size_of_kind(kind))?;
        if length > width as u64 && READ.iter().any(|read| u64::from(*read) == tag) {
            let end = numbers.at(at + 4 + width, width)?.checked_add(length)?;
            if end > bytes.len() as u64 {
                return None;
            }
        }
    }
    Some(())
}

/// Bytes of one value; kinds that nobody knows count as bytes.
fn size_of_kind(kind: u64) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 1,
    }
}
