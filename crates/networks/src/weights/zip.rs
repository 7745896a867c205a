//! The members of a zip archive that are stored uncompressed, as torch writes them. The `zip` crate reads the table; the values
//! stay where they are in the mapped file.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

/// Member names and the byte ranges of their contents.
pub(super) fn members(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let damaged =
        |reason: &dyn std::fmt::Display| format!("damaged zip archive ({reason}); download the file again");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let mut members = BTreeMap::new();
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(|error| damaged(&error))?;
        let name = member.name().map_err(|error| damaged(&error))?.into_owned();
        if member.compression() != CompressionMethod::Stored || member.encrypted() {
            return Err(format!(
                "member `{name}` is not merely stored; torch neither compresses nor encrypts"
            ));
        }
        let start = member.data_start().and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| {
            let end = start.checked_add(usize::try_from(member.size()).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        });
        let range = range.ok_or_else(|| damaged(&format_args!("`{name}` reaches beyond its end")))?;
        members.insert(name, range);
    }
    Ok(members)
}
