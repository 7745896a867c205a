//! What a file says of its making: an XMP packet after IPTC's Photo Metadata Standard 2025.1.
//!
//! `DigitalSourceType` is what programs look for that have to tell made pictures from taken ones. There is no clock in it: the same
//! transfer gives the same bytes.

use std::fmt::Write as _;
use std::path::Path;

use crate::{Outcome, Settings, Strength};

/// IPTC's vocabulary of digital source types.
const SOURCE_TYPES: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/";

/// The most characters of a text: the packet has to fit into a segment of a JPEG file.
const LONGEST_TEXT: usize = 2000;

/// Who made a picture, and how.
#[derive(Debug, Clone, Copy)]
pub struct Provenance<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The profile's name, or the path of its file, of which only the file's name is told.
    pub profile: &'a str,
    /// What was asked for.
    pub settings: &'a Settings,
}

impl Provenance<'_> {
    /// The packet for the files of `outcome`.
    #[must_use]
    pub fn xmp(&self, outcome: &Outcome) -> String {
        let Self { version, profile, settings } = *self;
        let profile = Path::new(profile).file_stem().map_or(profile.into(), |name| name.to_string_lossy());
        let source = if outcome.composite {
            "compositeWithTrainedAlgorithmicMedia"
        } else {
            "trainedAlgorithmicMedia"
        };
        let strength = match settings.strength {
            Strength::Medium => "medium",
            Strength::Strong => "strong",
        };
        let reads_text = !outcome.ignored.contains(&"prompt");
        let text = |text: &str| if reads_text { text.to_owned() } else { String::new() };
        let properties = [
            ("Iptc4xmpExt:DigitalSourceType", format!("{SOURCE_TYPES}{source}")),
            ("Iptc4xmpExt:AISystemUsed", format!("material-transfer, profile {profile}")),
            ("Iptc4xmpExt:AISystemVersionUsed", version.to_owned()),
            ("Iptc4xmpExt:AIPromptInformation", text(&settings.prompt)),
            ("xmp:CreatorTool", format!("material-transfer {version}")),
            ("mt:profile", profile.to_string()),
            ("mt:seed", settings.seed.to_string()),
            ("mt:steps", settings.steps.to_string()),
            ("mt:guidance_scale", settings.guidance_scale.to_string()),
            ("mt:material_strength", strength.to_owned()),
            ("mt:material_weight", settings.weight.to_string()),
            ("mt:material_scale", settings.scale.to_string()),
            ("mt:negative_prompt", text(&settings.negative_prompt)),
        ];
        let edits = settings.edits.asked().map(|(name, amount)| (format!("mt:{name}"), amount.to_string()));
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(edits);
        let mut attributes = String::new();
        for (name, value) in properties.filter(|(_, value)| !value.is_empty()) {
            let value: String = value.chars().take(LONGEST_TEXT).collect();
            // Writing to a string cannot fail.
            let _ = write!(attributes, "\n    {name}=\"{}\"", escaped(&value));
        }
        format!(
            "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n\
             <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n \
             <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n  \
             <rdf:Description rdf:about=\"\"\n    \
             xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"\n    \
             xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\"\n    \
             xmlns:mt=\"urn:material-transfer:parameters/\"{attributes}/>\n \
             </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end=\"r\"?>"
        )
    }
}

/// For an attribute of XML. Control characters, which XML 1.0 has no way to write, become blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use pixels::Picture;

    use super::*;

    fn outcome(composite: bool, ignored: Vec<&'static str>) -> Outcome {
        let picture = Picture::opaque(image::RgbImage::new(1, 1));
        Outcome {
            picture,
            composite,
            intermediates: Vec::new(),
            timings: Vec::new(),
            ignored,
            notes: Vec::new(),
        }
    }

    #[test]
    fn it_names_its_source_and_fits_into_a_jpeg_whatever_the_prompt() {
        let settings =
            Settings { prompt: "&<\"\u{1}\u{1F600}>".repeat(3000), seed: 7, ..Settings::default() };
        let provenance = Provenance { version: "1", profile: "/etc/secret/x.toml", settings: &settings };
        let packet = provenance.xmp(&outcome(true, Vec::new()));
        assert!(packet.contains("digitalsourcetype/compositeWithTrainedAlgorithmicMedia\""));
        assert!(packet.contains("mt:profile=\"x\"") && !packet.contains("secret"));
        assert!(packet.contains("mt:seed=\"7\"") && packet.contains("&amp;&lt;&quot; \u{1F600}&gt;"));
        assert!(packet.len() < 65_000, "{}", packet.len());
        let packet = provenance.xmp(&outcome(false, vec!["prompt"]));
        assert!(
            packet.contains("digitalsourcetype/trainedAlgorithmicMedia\"") && !packet.contains("AIPrompt")
        );
    }
}
