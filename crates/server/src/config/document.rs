//! The documents that follow from the settings: the table of `docs/configuration.md` and `configs/server.toml`.

use toml::Value;

use super::{ENVIRONMENT_PREFIX, SETTINGS, Setting, defaults};

/// The settings as a Markdown table.
#[must_use]
pub fn markdown_table() -> String {
    let mut table =
        String::from("| setting | default | environment | meaning |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let name = setting.name;
        let default = default(setting).map_or_else(|| "unset".to_owned(), |default| format!("`{default}`"));
        let variable = match name {
            "keys" => "only in the file".to_owned(),
            _ => format!("`{ENVIRONMENT_PREFIX}{}`", name.to_ascii_uppercase()),
        };
        table.push_str(&format!("| `{name}` | {default} | {variable} | {} |\n", meaning(setting)));
    }
    table
}

/// A configuration file with every setting at its default, commented out.
#[must_use]
pub fn toml_file() -> String {
    let mut file = String::from(
        "# Settings of `material-transfer serve --config FILE`, each at its default.\n\
         # Remove the `#` before a setting to change it. Names that are no settings are refused.\n\
         # The environment goes before this file, and the command line before both.\n",
    );
    for setting in SETTINGS.iter().filter(|setting| setting.name != "keys") {
        let default = default(setting).unwrap_or_else(|| "\"\"".to_owned());
        file.push_str(&format!("\n{}#{} = {default}\n", comment(setting), setting.name));
    }
    for setting in SETTINGS.iter().filter(|setting| setting.name == "keys") {
        file.push_str(&format!("\n{}{KEY_EXAMPLE}", comment(setting)));
    }
    file
}

/// Every field of a key; the hash is that of the word `secret`.
pub(super) const KEY_EXAMPLE: &str = "\
#[[keys]]
#id = \"studio\"
## printf %s KEY | sha256sum
#sha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"
## What it may do: \"transfer\" (submit, upload) and \"read\" (poll). Both unless said otherwise.
#permissions = [\"transfer\", \"read\"]
## The models it may use. All unless said otherwise.
#models = [\"material-transfer\"]
## How many transfers it may ever make; failed ones do not count. Unlimited unless said otherwise.
#credits = 1000
## Transfers a minute; 0 is no limit. The setting of the same name above unless said otherwise.
#requests_per_minute = 60
## Known, but switched off (403).
#disabled = false
## Its jobs are computed before all that wait of keys with a lower priority. 0 unless said otherwise.
#priority = 10
";

/// What a setting means, and its default as text where it has one; `None` where there is no such setting.
#[must_use]
pub fn explained(name: &str) -> Option<(String, Option<String>)> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
    let default =
        defaults().get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Some((meaning(setting), default.filter(|text| !text.is_empty() && text != "[]")))
}

fn default(setting: &Setting) -> Option<String> {
    defaults().get(setting.name).map(Value::to_string)
}

fn meaning(setting: &Setting) -> String {
    setting.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn comment(setting: &Setting) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in meaning(setting).split(' ') {
        if line.len() + 1 + word.len() > 110 {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}
