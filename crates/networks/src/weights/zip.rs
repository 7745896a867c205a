//! The table of a zip archive whose members are stored uncompressed, as torch writes them (PKWARE APPNOTE 6.3,
//! sections 4.3 and 4.5.3 for zip64).

use std::collections::BTreeMap;
use std::ops::Range;

const END_RECORD: [u8; 4] = *b"PK\x05\x06";
const END_RECORD_64: [u8; 4] = *b"PK\x06\x06";
const END_LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL_ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL_ENTRY: [u8; 4] = *b"PK\x03\x04";
/// Stands in 32-bit fields for "see the zip64 extra field".
const IN_ZIP64: u64 = 0xFFFF_FFFF;

/// Member names and the byte ranges of their contents.
pub(super) fn members(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    parse(bytes).ok_or_else(|| "damaged zip archive; download the file again".to_owned())?
}

/// None: a field lies outside the file or a signature is wrong.
fn parse(bytes: &[u8]) -> Option<Result<BTreeMap<String, Range<usize>>, String>> {
    let (count, mut at) = directory(bytes)?;
    let mut members = BTreeMap::new();
    for _ in 0..count {
        signature(bytes, at, CENTRAL_ENTRY)?;
        let method = number(bytes, at + 10, 2)?;
        let (name_len, extra_len, comment_len) =
            (size(bytes, at + 28, 2)?, size(bytes, at + 30, 2)?, size(bytes, at + 32, 2)?);
        let name = String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name_len)?).into_owned();
        let extra = bytes.get(at + 46 + name_len..at + 46 + name_len + extra_len)?;
        let fields = [number(bytes, at + 24, 4)?, number(bytes, at + 20, 4)?, number(bytes, at + 42, 4)?];
        let [length, _, local] = widen(fields, extra)?;
        if method != 0 {
            return Some(Err(format!("member `{name}` is compressed; torch stores members uncompressed")));
        }
        let local = usize::try_from(local).ok()?;
        signature(bytes, local, LOCAL_ENTRY)?;
        let start = local + 30 + size(bytes, local + 26, 2)? + size(bytes, local + 28, 2)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        bytes.get(start..end)?;
        members.insert(name, start..end);
        at += 46 + name_len + extra_len + comment_len;
    }
    Some(Ok(members))
}

/// Number of entries and start of the central directory.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    // The end record has 22 bytes and a comment of at most 65535.
    let first = bytes.len().saturating_sub(22 + 0xFFFF);
    let end = (first..=bytes.len().checked_sub(22)?).rev().find(|&i| bytes[i..i + 4] == END_RECORD)?;
    if end >= 20 && signature(bytes, end - 20, END_LOCATOR_64).is_some() {
        let record = size(bytes, end - 20 + 8, 8)?;
        signature(bytes, record, END_RECORD_64)?;
        return Some((number(bytes, record + 32, 8)?, size(bytes, record + 48, 8)?));
    }
    Some((number(bytes, end + 10, 2)?, size(bytes, end + 16, 4)?))
}

/// Replaces the fields (length, compressed length, local offset) that stand in the zip64 extra field, in that order.
fn widen(mut fields: [u64; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
    while fields.contains(&IN_ZIP64) {
        let (id, len) = (number(extra, 0, 2)?, size(extra, 2, 2)?);
        let body = extra.get(4..4 + len)?;
        if id == 1 {
            let wide = fields.iter_mut().filter(|field| **field == IN_ZIP64);
            for (i, field) in wide.enumerate() {
                *field = number(body, 8 * i, 8)?;
            }
            return Some(fields);
        }
        extra = &extra[4 + len..];
    }
    Some(fields)
}

fn signature(bytes: &[u8], at: usize, want: [u8; 4]) -> Option<()> {
    (bytes.get(at..at.checked_add(4)?)? == want).then_some(())
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

fn size(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, width)?).ok()
}
