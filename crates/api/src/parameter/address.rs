//! The address of a program that waits for an answer.

use serde_json::{Value, json};
use url::Url;

use super::{Kind, ParameterKind, present};
use crate::given::Given;
use crate::image_source::LONGEST_URL;

/// A URL that may be left out.
#[derive(Debug, Clone)]
pub(crate) struct Address;

impl ParameterKind for Address {
    type Value = Option<Url>;
    const KIND: Kind = Kind::Text;

    fn schema(&self, description: &str) -> Value {
        json!({
            "type": ["string", "null"], "format": "uri", "maxLength": LONGEST_URL, "description": description,
        })
    }

    fn allowed(&self) -> String {
        "an HTTP(S) URL".to_owned()
    }

    fn default(&self) -> Option<String> {
        Some(String::new())
    }

    fn read(&self, given: Option<Given<'_>>) -> Result<Option<Url>, String> {
        let text = match present(given) {
            None => return Ok(None),
            Some(Given::Text(text)) if text.trim().len() <= LONGEST_URL => text,
            Some(Given::Text(_) | Given::Endless) => {
                return Err(format!("URL too long (at most {LONGEST_URL} bytes)"));
            }
            Some(_) => return Err("must be a string".to_owned()),
        };
        let url = Url::parse(text.trim()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Some).ok_or_else(|| "must be a valid HTTP or HTTPS URL".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_the_web_or_nothing() {
        let read = |given| Address.read(Some(given));
        let text = |text: &str| Given::Text(text.to_owned().into());
        assert_eq!(read(text(" https://h/x ")).unwrap().unwrap().as_str(), "https://h/x");
        assert_eq!((Address.read(None), read(Given::Null)), (Ok(None), Ok(None)));
        for bad in ["h/x", "ftp://h/x", "http://", "data:,x"] {
            assert!(read(text(bad)).unwrap_err().contains("HTTP"), "{bad}");
        }
        assert!(
            read(text(&format!("http://h/{}", "x".repeat(LONGEST_URL)))).unwrap_err().contains("too long")
        );
        assert!(read(Given::Bool(true)).is_err());
    }
}
