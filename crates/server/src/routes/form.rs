//! Forms (`multipart/form-data`, RFC 7578): the fields that a transfer has, out of a body that is in memory.

use api::{FormValue, Schema};
use bytes::Bytes;
use memchr::memmem;

use crate::failure::Failure;

/// The most parts of a form; the API has thirty fields.
const MOST_PARTS: usize = 64;
/// The longest head of a part, in bytes. Browsers send a few hundred.
const LONGEST_HEAD: usize = 8 << 10;

/// Which fields of a form are kept.
pub(super) trait Fields: Sync {
    /// Is this field read? Of all others only that they are there is told.
    fn knows(&self, name: &str) -> bool;
    /// May it be there several times? Else the last one counts.
    fn repeats(&self, name: &str) -> bool;
}

impl Fields for Schema {
    fn knows(&self, name: &str) -> bool {
        Self::knows(self, name)
    }

    fn repeats(&self, name: &str) -> bool {
        Self::repeats(self, name)
    }
}

/// The fields of a form in their order, those that are not known without their values. Blocks for as long as copying the pictures takes.
pub(super) fn read(
    body: Bytes,
    boundary: &str,
    wanted: &dyn Fields,
) -> Result<Vec<(String, FormValue)>, Failure> {
    check(&body, boundary)?;
    let stream = futures::stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    // The body is there, so nothing is waited for.
    futures::executor::block_on(fields(multer::Multipart::new(stream, boundary), wanted))
}

async fn fields(
    mut form: multer::Multipart<'_>,
    wanted: &dyn Fields,
) -> Result<Vec<(String, FormValue)>, Failure> {
    let bad = |error: multer::Error| Failure::bad_form(&error.to_string());
    let mut fields = Vec::new();
    while let Some(mut field) = form.next_field().await.map_err(bad)? {
        let Some(name) = field.name().map(str::to_owned) else { continue };
        if !wanted.knows(&name) {
            // Only that it was there.
            fields.push((name, FormValue::Text(String::new())));
            continue;
        }
        let is_file = field.file_name().is_some();
        let mut bytes = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(bad)? {
            bytes.extend_from_slice(&piece);
        }
        let value = match String::from_utf8(bytes) {
            Ok(text) if !is_file => FormValue::Text(text),
            Ok(text) => FormValue::File(text.into_bytes()),
            Err(error) => FormValue::File(error.into_bytes()),
        };
        // The last one of a name counts, so that no more than one of each is held; but for lists, where all count.
        if !wanted.repeats(&name) {
            fields.retain(|(each, _): &(String, FormValue)| *each != name);
        }
        fields.push((name, value));
    }
    Ok(fields)
}

/// Bounds what the parser will meet: how many parts, and how long their heads.
fn check(body: &[u8], boundary: &str) -> Result<(), Failure> {
    let delimiter = format!("\r\n--{boundary}");
    let first = body.starts_with(&delimiter.as_bytes()[2..]).then_some(delimiter.len() - 2);
    let later = memmem::find_iter(body, delimiter.as_bytes()).map(|at| at + delimiter.len());
    let mut parts = 0;
    for end in first.into_iter().chain(later) {
        let behind = &body[end..];
        if behind.starts_with(b"--") {
            continue; // the end of the form
        }
        parts += 1;
        if parts > MOST_PARTS {
            return Err(Failure::bad_form(&format!("it has more than {MOST_PARTS} parts")));
        }
        let head = &behind[..behind.len().min(LONGEST_HEAD)];
        if head.len() == LONGEST_HEAD && memmem::find(head, b"\r\n\r\n").is_none() {
            return Err(Failure::bad_form(&format!("a part's head is longer than {LONGEST_HEAD} bytes")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, value: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    fn of(body: String) -> Result<Vec<(String, FormValue)>, String> {
        let read = read(Bytes::from(body + "--B--\r\n"), "B", &Schema::default());
        read.map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn known_fields_and_the_last_of_each() {
        let form =
            part("steps", "1") + &part("x", &"y".repeat(1 << 20)) + &part("seed", "2") + &part("steps", "3");
        let text = |name: &str, value: &str| (name.to_owned(), FormValue::Text(value.to_owned()));
        assert_eq!(of(form).unwrap(), [text("x", ""), text("seed", "2"), text("steps", "3")]);
        assert_eq!(of(String::new()).unwrap_or_default(), []);
    }

    #[test]
    fn many_parts_and_long_heads_are_refused() {
        let many = |count: usize| (0..count).map(|n| part(&format!("f{n}"), "")).collect::<String>();
        assert!(of(many(64)).is_ok());
        for count in [65, 300_000] {
            assert!(of(many(count)).unwrap_err().contains("more than 64 parts"));
        }
        let file = "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nX: ".to_owned();
        assert!(of(file.clone() + &"x".repeat(7000) + "\r\n\r\n\r\n").is_ok());
        assert!(of(file + &"x".repeat(32 << 20) + "\r\n\r\n\r\n").unwrap_err().contains("head"));
    }
}
