//! The settings that people change most, as options of `serve`. Names, help and defaults are those of the server's own table;
//! all other settings can be given in the file or as environment variables (`docs/configuration.md`). The server reads the
//! environment itself, so that an option stands above a variable and a variable above the file.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use server::config::{explained, value_of};
use toml::{Table, Value};

/// The settings that are options, with the heading each stands under and the name of its value.
const OPTIONS: [(&str, &str, &str); 13] = [
    ("data_dir", "Files", "DIR"),
    ("result_ttl", "Files", "SPAN"),
    ("database", "Files", "URL"),
    ("files", "Files", "URL"),
    ("listen", "Network", "ADDR"),
    ("public_url", "Network", "URL"),
    ("profile", "Engine", "NAME|FILE"),
    ("device", "Engine", "DEVICE"),
    ("devices", "Engine", "DEVICE"),
    ("workers", "Engine", "NUMBER"),
    ("threads", "Engine", "NUMBER"),
    ("api_key", "Keys", "KEY"),
    ("api_key_file", "Keys", "FILE"),
];

/// The settings that were given, by their names.
#[derive(Debug, Default)]
pub(crate) struct SettingArguments(Table);

impl SettingArguments {
    /// The settings that were given, by the configuration's names.
    pub(crate) fn table(&self) -> Table {
        self.0.clone()
    }
}

/// May it be given several times?
fn is_list(name: &str) -> bool {
    value_of(name, "").is_array()
}

impl Args for SettingArguments {
    fn augment_args(command: Command) -> Command {
        OPTIONS.iter().fold(command, |command, (name, heading, value)| {
            let (meaning, default) = explained(name).unwrap_or_default();
            let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            let several = if is_list(name) { " Repeat it for several." } else { "" };
            let option =
                Arg::new(*name).long(name.replace('_', "-")).value_name(*value).help_heading(*heading);
            let action = if is_list(name) { ArgAction::Append } else { ArgAction::Set };
            command.arg(option.action(action).help(format!("{meaning}{several}{default}")))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut settings = Table::new();
        for (name, ..) in OPTIONS {
            let Some(mut texts) = matches.get_many::<String>(name) else { continue };
            let value = if is_list(name) {
                Value::Array(texts.cloned().map(Value::from).collect())
            } else {
                value_of(name, texts.next_back().map_or("", String::as_str))
            };
            settings.insert(name.to_owned(), value);
        }
        Ok(Self(settings))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_setting() {
        for (name, ..) in OPTIONS {
            assert!(explained(name).is_some(), "{name}");
        }
    }
}
