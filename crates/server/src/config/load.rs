//! How the layers of the configuration are read and merged, with the origin of every mistake.

use std::path::Path;

use toml::{Table, Value};

use super::{Config, ConfigError, ENVIRONMENT_PREFIX, SETTINGS, defaults, has_variable};

impl Config {
    /// Merges the layers: `file` if there is one, the variables of `environment` with our prefix, each of which must be a
    /// setting, and what was given on the command line (`flags`, by the names of settings).
    ///
    /// # Errors
    /// [`ConfigError`], naming the layer and the setting.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Table,
    ) -> Result<Self, ConfigError> {
        let mut merged = Table::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            let table: Table = text.parse().map_err(|error| syntax_error(path, &text, &error))?;
            overlay(&mut merged, table, &path.display().to_string())?;
        }
        for (name, table) in from_environment(environment)? {
            overlay(&mut merged, table, &name)?;
        }
        overlay(&mut merged, flags, "command line")?;
        let counted = merged.contains_key("workers");
        let mut config: Self = read(merged).map_err(|reason| value_error("configuration", "", reason))?;
        if !counted {
            config.workers = config.devices.len().max(1);
        }
        config.read_keys()?;
        config.read_database()?;
        config.check()?;
        Ok(config)
    }
}

/// The settings among the environment's variables, each as a table of one.
///
/// # Errors
/// [`ConfigError::Unknown`] for a variable with our prefix that is no setting, [`ConfigError::Value`] for a list of keys
/// that is there but empty: whoever sets it wants the server closed.
fn from_environment(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, Table)>, ConfigError> {
    let mut found = Vec::new();
    for (variable, text) in environment {
        let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX).map(str::to_ascii_lowercase) else {
            continue;
        };
        // Kubernetes tells every container of a service of our name where that is.
        if name.starts_with("service_") || name == "port" || name.starts_with("port_") {
            continue;
        }
        if !has_variable(&name) {
            let similar = similar(&name);
            return Err(ConfigError::Unknown { origin: variable, name, similar });
        }
        let is_blank = text.split(',').all(|part| part.trim().is_empty());
        if is_blank && name == "api_key" {
            let reason =
                "is set but empty; give it a key, or take the variable away to leave the server open";
            return Err(value_error(&variable, &name, reason.to_owned()));
        }
        // An empty variable is how container files spell one that is not set.
        if text.trim().is_empty() {
            continue;
        }
        let value = value_of(&name, &text);
        found.push((variable, Table::from_iter([(name, value)])));
    }
    Ok(found)
}

/// Lays `layer` over `merged`; each name and each value is checked here, while its origin is known.
fn overlay(merged: &mut Table, layer: Table, origin: &str) -> Result<(), ConfigError> {
    let list = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    if layer.contains_key("device") && layer.get("devices").is_some_and(list) {
        let reason = "stands in place of `device`: set one of the two".to_owned();
        return Err(value_error(origin, "devices", reason));
    }
    for (name, value) in layer {
        // One stands in place of the other, wherever that was set.
        match name.as_str() {
            "device" => drop(merged.remove("devices")),
            "devices" if list(&value) => drop(merged.remove("device")),
            _ => {}
        }
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            let similar = similar(&name);
            return Err(ConfigError::Unknown { origin: origin.to_owned(), name, similar });
        }
        let alone = Table::from_iter([(name.clone(), value.clone())]);
        read(alone).map_err(|reason| value_error(origin, &name, discreet(&name, reason)))?;
        merged.insert(name, value);
    }
    Ok(())
}

fn read(table: Table) -> Result<Config, String> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| plainly(error.message()))
}

/// A deserializer's message without the names of Rust's types.
fn plainly(message: &str) -> String {
    let types = ["usize", "u64", "u32", "u16", "u8", "i64"];
    let found = types.iter().find_map(|name| message.strip_suffix(&format!("expected {name}")));
    found.map_or_else(|| message.to_owned(), |head| format!("{head}expected a whole number from 0 on"))
}

pub(super) fn value_error(origin: &str, name: &str, reason: String) -> ConfigError {
    ConfigError::Value { origin: origin.to_owned(), name: name.to_owned(), reason }
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    // The message may quote what it found; only its own words are shown.
    let reason = without_quotes(error.message());
    ConfigError::Syntax { path: path.to_owned(), line: before.matches('\n').count() + 1, reason }
}

/// Settings whose values hold keys or passwords.
const SECRET: [&str; 4] = ["api_key", "keys", "fetch_proxy", "check_url"];

/// What is wrong with a setting, without its value where that is nobody's business.
fn discreet(name: &str, reason: String) -> String {
    if SECRET.contains(&name) { without_quotes(&reason) } else { reason }
}

/// The text with whatever stands in double quotes left out.
fn without_quotes(text: &str) -> String {
    match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &text[..first], &text[last + 1..]),
        _ => text.to_owned(),
    }
}

/// The value of a setting that is given as text: lists by commas, numbers and truth values where the default is one.
#[must_use]
pub fn value_of(name: &str, text: &str) -> Value {
    let text = text.to_owned();
    match defaults().get(name) {
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(Value::from).collect())
        }
        Some(Value::Boolean(_)) => text.trim().parse().map_or_else(|_| Value::from(text), Value::Boolean),
        Some(Value::Integer(_)) => text.trim().parse().map_or_else(|_| Value::from(text), Value::Integer),
        _ => Value::from(text),
    }
}

/// A setting that shares its beginning or its end with a mistyped name.
fn similar(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    let score = |other: &str| shared(&name, other).max(shared(&reversed(&name), &reversed(other)));
    let best = SETTINGS.iter().map(|setting| setting.name).max_by_key(|other| score(other))?;
    (score(best) >= 4).then_some(best)
}
