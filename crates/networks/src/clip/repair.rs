//! Text repair before tokenising, as the reference's tokenizer does it with the ftfy library (behaviour taken from its
//! documentation): HTML entities, mojibake, ligatures, full- and half-width letters, curly quotes, control characters, NFC.
//!
//! Mojibake is undone where every non-ASCII character of a text, read as a Windows-1252 byte, together forms UTF-8. ftfy
//! also weighs how unlikely a text looks and tries rarer encodings; that is left out.

use unicode_normalization::UnicodeNormalization;

/// Names of U+00A0 to U+00FF in HTML 4, in order.
const LATIN_ENTITIES: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn \
sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring \
AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash \
Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml \
igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn \
yuml";

/// Other entities people write.
const ENTITIES: [(&str, char); 17] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("ndash", '\u{2013}'),
    ("mdash", '\u{2014}'),
    ("lsquo", '\u{2018}'),
    ("rsquo", '\u{2019}'),
    ("ldquo", '\u{201C}'),
    ("rdquo", '\u{201D}'),
    ("bull", '\u{2022}'),
    ("hellip", '\u{2026}'),
    ("euro", '\u{20AC}'),
    ("trade", '\u{2122}'),
    ("larr", '\u{2190}'),
    ("rarr", '\u{2192}'),
];

/// What Windows-1252 has in 0x80 to 0x9F; NUL where it has nothing (the byte then stands for itself).
const WINDOWS_1252: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘', '’', '“',
    '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

/// Letters drawn as one, and the letters.
const LIGATURES: [(char, &str); 20] = [
    ('Ĳ', "IJ"),
    ('ĳ', "ij"),
    ('ŉ', "ʼn"),
    ('Ǳ', "DZ"),
    ('ǲ', "Dz"),
    ('ǳ', "dz"),
    ('Ǆ', "DŽ"),
    ('ǅ', "Dž"),
    ('ǆ', "dž"),
    ('Ǉ', "LJ"),
    ('ǈ', "Lj"),
    ('ǉ', "lj"),
    ('Ǌ', "NJ"),
    ('ǋ', "Nj"),
    ('ǌ', "nj"),
    ('ﬀ', "ff"),
    ('ﬁ', "fi"),
    ('ﬂ', "fl"),
    ('ﬃ', "ffi"),
    ('ﬄ', "ffl"),
];

/// The repaired text. Repairs are repeated until nothing changes, since one may uncover another.
pub(super) fn repair(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'&') {
        return text.to_owned();
    }
    let mut current = text.to_owned();
    // Each round shortens or settles the text; the bound only guards against a cycle.
    for _ in 0..8 {
        let next = round(&current);
        if next == current {
            break;
        }
        current = next;
    }
    current
}

fn round(text: &str) -> String {
    // A text with tags is HTML on purpose, and its entities stay.
    let text = if text.contains('<') { text.to_owned() } else { unescape(text) };
    let text = undo_mojibake(&text).unwrap_or(text);
    let mut fixed = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{80}'..='\u{9F}' => fixed.push(from_windows_1252(c)),
            '\u{3000}' => fixed.push(' '),
            '\u{FF01}'..='\u{FFEF}' => fixed.extend(std::iter::once(c).nfkc()),
            '\u{2BC}' | '\u{2018}'..='\u{201B}' => fixed.push('\''),
            '\u{201C}'..='\u{201F}' => fixed.push('"'),
            '\u{2028}' | '\u{2029}' => fixed.push('\n'),
            'ﬅ' | 'ﬆ' => fixed.push_str(if c == 'ﬅ' { "ſt" } else { "st" }),
            _ if is_control(c) => {}
            _ => match LIGATURES.iter().find(|(ligature, _)| *ligature == c) {
                Some((_, letters)) => fixed.push_str(letters),
                None => fixed.push(c),
            },
        }
    }
    fixed.nfc().collect()
}

/// Control and interlinear characters that have no place in text; tab and line ends are white space.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}')
}

/// Entities by name or number become their characters; unknown ones stay.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest[1..].split_once(';').and_then(|(name, _)| Some((name, entity(name)?)));
        match entity {
            Some((name, c)) => {
                out.push(c);
                rest = &rest[name.len() + 2..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    let latin = LATIN_ENTITIES.split(' ').zip('\u{A0}'..);
    let mut known = ENTITIES.into_iter().chain(latin);
    known.find(|(entity, _)| *entity == name).map(|(_, c)| c)
}

/// UTF-8 that was read as Windows-1252, read rightly; None where the text is nothing of the kind.
fn undo_mojibake(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(to_windows_1252).collect();
    String::from_utf8(bytes?).ok()
}

fn to_windows_1252(c: char) -> Option<u8> {
    match u8::try_from(u32::from(c)) {
        Ok(byte) => Some(byte),
        Err(_) => {
            let at = WINDOWS_1252.iter().position(|known| *known == c)?;
            u8::try_from(0x80 + at).ok()
        }
    }
}

fn from_windows_1252(c: char) -> char {
    let at = u32::from(c).checked_sub(0x80).and_then(|at| usize::try_from(at).ok());
    let known = at.and_then(|at| WINDOWS_1252.get(at)).copied();
    known.filter(|known| *known != '\0').unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn repairs() {
        for (text, want) in [
            ("don’t “stop”", "don't \"stop\""),
            ("ﬁn ﬂow", "fin flow"),
            ("ＦＵＬＬ　width ｶﾀｶﾅ", "FULL width カタカナ"),
            ("Ã©tÃ©", "été"),
            ("&amp; &lt;b&gt; &#233;&eacute; &nonsense;", "& <b> éé &nonsense;"),
            ("<b> &amp;", "<b> &amp;"),
            ("a\u{301}\u{FEFF}", "á"),
            ("plain (text:1.2)", "plain (text:1.2)"),
            ("café", "café"),
        ] {
            assert_eq!(repair(text), want);
        }
    }
}
