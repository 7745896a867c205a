//! The API's parameters as options. Name, help, range and default are those of the API's table ([`api::Schema`]), and values
//! are kept as the text that was given, to be read by the API itself: command line and server cannot differ.

use api::{Facts, Kind, MOST_REGIONS, Schema};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// The parameters that were given, each as its text, by the API's names.
#[derive(Debug, Default)]
pub(crate) struct ParameterArguments(Vec<Given>);

/// A parameter that was given.
#[derive(Debug)]
pub(crate) struct Given {
    /// The API's name.
    pub(crate) name: &'static str,
    /// As it was typed; of a picture, where it is.
    pub(crate) value: String,
    pub(crate) kind: Kind,
}

impl ParameterArguments {
    /// Those that were given; a list of pictures picture by picture.
    pub(crate) fn given(&self) -> &[Given] {
        &self.0
    }

    /// The text of one, if it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|each| each.name == name).map(|each| each.value.as_str())
    }
}

/// All parameters that are options of this table: subject and material are given in ways of their own.
fn facts() -> impl Iterator<Item = Facts> {
    let others = |facts: &Facts| !["subject_image", "material_image"].contains(&facts.name);
    Schema::default().facts().into_iter().filter(others)
}

impl Args for ParameterArguments {
    fn augment_args(command: Command) -> Command {
        facts().fold(command.next_help_heading("Parameters"), |command, facts| command.arg(option(&facts)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParameterArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |facts: Facts| {
            let values = matches.get_many::<String>(facts.name).into_iter().flatten();
            values.map(move |value| Given { name: facts.name, value: value.clone(), kind: facts.kind })
        };
        Ok(Self(facts().flat_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The option of a parameter.
fn option(facts: &Facts) -> Arg {
    let option = Arg::new(facts.name)
        .long(facts.name.replace('_', "-"))
        .env(format!("MATERIAL_TRANSFER_{}", facts.name.to_uppercase()))
        .help(help(facts))
        .value_name(match facts.kind {
            Kind::Picture | Kind::Pictures => "PATH|URL",
            Kind::Text => "TEXT",
            Kind::Number | Kind::Integer => "NUMBER",
            Kind::Choice => "WORD",
            Kind::Boolean => "BOOL",
        });
    match facts.kind {
        // `--seed -1`: a value, and no option.
        Kind::Number | Kind::Integer => option.allow_hyphen_values(true),
        Kind::Boolean => option.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Pictures => option.action(ArgAction::Append),
        Kind::Picture | Kind::Text | Kind::Choice => option,
    }
}

/// What the help says of a parameter. What differs at a terminal is added here.
fn help(facts: &Facts) -> String {
    let (description, allowed) = (facts.description, &facts.allowed);
    match (facts.name, facts.kind, facts.default.as_deref()) {
        ("output_format", ..) => format!("{description} ({allowed}) [default: by the output's extension]"),
        ("return_intermediate_images", ..) => format!("{description}; as NAME.mask.png … beside the output"),
        (_, Kind::Picture, _) => description.to_owned(),
        (_, Kind::Pictures, _) => format!("{description}; once for each, at most {MOST_REGIONS}"),
        (_, Kind::Text, None | Some("")) => description.to_owned(),
        (_, Kind::Text, Some(default)) => format!("{description} [default: {default}]"),
        (_, _, None) => format!("{description} ({allowed})"),
        (_, _, Some(default)) => format!("{description} ({allowed}) [default: {default}]"),
    }
}
