//! The command line. Each option is an environment variable too: `MATERIAL_TRANSFER_` and its name in capitals.
//!
//! The API's parameters ([`parameters`]) and the server's settings ([`settings`]) follow from their own tables.

mod parameters;
mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) use self::parameters::{Given, ParameterArguments};
pub(crate) use self::settings::SettingArguments;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// What the program is called.
pub(crate) const NAME: &str = "material-transfer";

const EXAMPLES: &str = "\
Examples:
  material-transfer transfer chair.jpg wicker.jpg -o out.png
  material-transfer serve                         then open http://127.0.0.1:8000/
  material-transfer doctor                        what is missing, and what to do

Every option is an environment variable too: --max-width is MATERIAL_TRANSFER_MAX_WIDTH.

Exit codes: 0 done; 2 something you can put right (an option, a picture, a profile); 1 a fault; 130 stopped by Ctrl-C.";

const TRANSFER_EXAMPLES: &str = "\
Examples:
  material-transfer transfer chair.jpg wicker.jpg -o out.png
  material-transfer transfer chair.jpg https://example.com/wicker.jpg -o out.webp --steps 20 --seed 7
  material-transfer transfer room.jpg oak.jpg --subject-mask floor.png -o out.png
  material-transfer transfer --subject shoe.jpg --masks sole.png --materials cork.jpg --masks upper.png --materials denim.jpg -o out.png
  curl -s https://example.com/chair.jpg | material-transfer transfer --subject - --material wicker.jpg -o - > out.jpg";

const SERVE_EXAMPLES: &str = "\
Examples:
  material-transfer serve
  material-transfer serve --listen 0.0.0.0:8000 --data-dir /var/lib/material-transfer --api-key-file /etc/mt.keys
  material-transfer serve --profile juggernaut-x --device cuda

There are more settings, for the file and the environment: docs/configuration.md lists them all.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  material-transfer doctor
  material-transfer doctor --config server.toml

Exit codes: 0 all is well; 2 something is to be put right, and its line says what to do.";

/// Transfers the material of one picture onto the subject of another.
#[derive(Debug, Parser)]
#[command(name = NAME, version = crate::about::VERSION, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Transfer one material and write the picture.
    #[command(after_help = TRANSFER_EXAMPLES)]
    Transfer(Box<TransferArguments>),
    /// Serve the HTTP API, and a page to try it at `/`.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArguments>),
    /// Work for servers that share a database, without serving the API: `/health` and `/metrics` only.
    ///
    /// Takes the settings of `serve`. docs/scaling.md says how many servers and workers go together.
    Worker(Box<ServeArguments>),
    /// Look after servers and workers that share a database.
    #[cfg(feature = "cluster")]
    Cluster(Box<ClusterArguments>),
    /// List, fetch, check and remove the weights of network engines.
    ///
    /// Files lie in the cache that all Hugging Face clients share: what another one has fetched is found. The environment
    /// says where and how: HF_HOME is the cache's folder [default: ~/.cache/huggingface], HF_TOKEN a token for repositories
    /// that want one, HF_ENDPOINT another hub, HF_HUB_OFFLINE=1 forbids the network.
    Models(ModelsArguments),
    /// Check everything that a server needs, with its options and settings.
    ///
    /// Device, driver, memory, processors, weights, port, data folder and how fast it is, clock, and one small transfer: each
    /// a line that says ok, or what to do. Nothing is changed.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Box<ServeArguments>),
    /// Print the completions of a shell.
    ///
    /// bash: material-transfer completions bash > ~/.local/share/bash-completion/completions/material-transfer
    Completions(CompletionsArguments),
    /// Print the manual page.
    Man(ManArguments),
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Write the pages of all commands into this folder instead.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The command line as it is shown: the help names no variables, since one sentence does for all.
pub(crate) fn command() -> clap::Command {
    fn quiet(command: clap::Command) -> clap::Command {
        command.mut_args(|option| option.hide_env(true)).mut_subcommands(quiet)
    }
    quiet(Arguments::command())
}

/// Reads the command line; ends the program with help, version or what is wrong.
pub(crate) fn read() -> Arguments {
    let mut matches = command().get_matches();
    Arguments::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut command()).exit())
}

/// The variables of all options of all commands, which `serve` may find in its environment without their being settings.
pub(crate) fn variables() -> BTreeSet<String> {
    fn collect(command: &clap::Command, into: &mut BTreeSet<String>) {
        into.extend(
            command.get_arguments().filter_map(|option| Some(option.get_env()?.to_str()?.to_owned())),
        );
        command.get_subcommands().for_each(|each| collect(each, into));
    }
    // What the suites under `tests` are told by: the program to run.
    let mut all = BTreeSet::from(["MATERIAL_TRANSFER_BIN".to_owned()]);
    collect(&Arguments::command(), &mut all);
    all
}

/// Options of `transfer`.
#[derive(Debug, Args)]
pub(crate) struct TransferArguments {
    /// Subject and material, in this order, in place of the two options.
    #[arg(num_args = 2, value_names = ["SUBJECT", "MATERIAL"], conflicts_with_all = ["subject", "material"])]
    pictures: Vec<String>,
    /// The picture whose subject gets the material: a file, an http(s) URL, or - for standard input.
    #[arg(
        long,
        value_name = "PATH|URL",
        required_unless_present = "pictures",
        env = "MATERIAL_TRANSFER_SUBJECT",
        help_heading = "Pictures"
    )]
    subject: Option<String>,
    /// The picture whose material is taken: a file or an http(s) URL.
    #[arg(
        long,
        value_name = "PATH|URL",
        required_unless_present_any = ["pictures", "materials"],
        env = "MATERIAL_TRANSFER_MATERIAL",
        help_heading = "Pictures"
    )]
    material: Option<String>,
    /// Where the result goes; .webp, .jpg or .png. An existing file is replaced, once the result is complete; links are
    /// followed, pipes and devices are written to, and - is standard output.
    #[arg(long, short, value_name = "FILE", env = "MATERIAL_TRANSFER_OUTPUT", help_heading = "Pictures")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,

    /// Profile of the engine: a name, or a path to a profile file.
    #[arg(
        long,
        value_name = "NAME|FILE",
        default_value = "exemplar",
        env = "MATERIAL_TRANSFER_PROFILE",
        help_heading = "Engine"
    )]
    pub(crate) profile: String,
    /// What computes: auto, cpu, cuda or metal. `auto` takes a GPU that this build knows, else the CPU.
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "auto",
        env = "MATERIAL_TRANSFER_DEVICE",
        help_heading = "Engine"
    )]
    pub(crate) device: String,
    /// Threads that compute on the CPU; 0 is one per processor.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        env = "MATERIAL_TRANSFER_THREADS",
        help_heading = "Engine"
    )]
    pub(crate) threads: usize,

    /// Write what every stage made into this folder, numbered in order: pictures, and tensors as safetensors.
    #[arg(long, value_name = "DIR", env = "MATERIAL_TRANSFER_TRACE", help_heading = "Reporting")]
    pub(crate) trace: Option<PathBuf>,
    /// Print one JSON object about the result on standard output, and no progress.
    #[arg(
        long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "MATERIAL_TRANSFER_JSON",
        help_heading = "Reporting"
    )]
    pub(crate) json: bool,
}

impl TransferArguments {
    /// Subject and material, however they were given; there may be no material where each mask has its own.
    pub(crate) fn pictures(&self) -> (&str, Option<&str>) {
        match self.pictures.as_slice() {
            [subject, material] => (subject, Some(material)),
            _ => (self.subject.as_deref().unwrap_or_default(), self.material.as_deref()),
        }
    }
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "MATERIAL_TRANSFER_CONFIG", help_heading = "Files")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// What is logged to standard error: error, warn, info, debug, trace, also by module.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "MATERIAL_TRANSFER_LOG",
        help_heading = "Log"
    )]
    pub(crate) log: String,
    /// Log lines as JSON objects.
    #[arg(
        long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "MATERIAL_TRANSFER_LOG_JSON",
        help_heading = "Log"
    )]
    pub(crate) log_json: bool,
}

/// Options of `cluster`.
#[cfg(feature = "cluster")]
#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
    /// The servers' configuration file (TOML); the environment counts too.
    #[arg(long, global = true, value_name = "FILE", env = "MATERIAL_TRANSFER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// What is to be done.
#[cfg(feature = "cluster")]
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the workers that have reported themselves lately, one JSON object per line.
    Workers,
    /// Take over what the keys have used of their credits from the data folder of a server that has been stopped.
    ///
    /// Keys that have used some by the database's count already are left alone, so it can be repeated.
    MoveCredits,
}

/// Options of `models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArguments {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
    /// Print one JSON object on standard output, and no progress bars.
    #[arg(
        long, global = true, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(),
        env = "MATERIAL_TRANSFER_JSON"
    )]
    pub(crate) json: bool,
}

/// What is to be done with weights.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Show every file with its size and licence, and which profile needs which.
    List,
    /// Fetch what is not there yet.
    ///
    /// Licences and sizes are shown before the first byte is fetched. A download that broke off
    /// or was stopped goes on where it was. Every file is checked against its SHA-256 where the hub tells it.
    Pull {
        /// A profile (`models list` shows them), a profile file, or a model. A name that is both is the profile.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Read files and compare them with their announced sizes and hashes.
    ///
    /// Exit code 2 when one is damaged, or is named and not there.
    Verify {
        /// Profiles, profile files or models [default: everything in the cache].
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove files, and unfinished downloads from the same repositories.
    ///
    /// A profile's name removes those of its files that no other built-in profile needs; the others stay unless they are
    /// named themselves.
    Remove {
        /// Profiles, profile files or models.
        #[arg(required_unless_present = "all", value_name = "NAME")]
        names: Vec<String>,
        /// Everything that `models list` shows.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_nothing_wrong() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_serve_are_settings() {
        let line = "material-transfer serve --listen 0.0.0.0:1 --data-dir d --profile p --device cpu --threads 3 \
                    --api-key a --api-key b --result-ttl 5s --public-url https://x.example/y";
        let arguments = Arguments::try_parse_from(line.split_whitespace()).expect("parsed");
        let Command::Serve(serve) = arguments.command else { panic!("serve was asked for") };
        let config = server::Config::load(None, [], serve.settings.table()).expect("accepted");
        assert_eq!((config.listen.as_str(), config.device), ("0.0.0.0:1", pipeline::DeviceChoice::Cpu));
        assert_eq!((config.threads, config.api_key.len()), (3, 2));
        assert_eq!(config.result_ttl.0.as_secs(), 5);
        assert_eq!(config.public_url.map(String::from), Some("https://x.example/y".to_owned()));
    }

    #[test]
    fn every_option_has_its_variable() {
        let command = Arguments::command();
        let transfer = command.find_subcommand("transfer").expect("there");
        let options = transfer.get_arguments().filter(|option| !option.is_positional());
        for option in options.filter(|option| option.get_id() != "help") {
            let name = option.get_long().expect("a long name").to_uppercase().replace('-', "_");
            let variable = option.get_env().and_then(|name| name.to_str()).map(str::to_owned);
            assert_eq!(variable, Some(format!("MATERIAL_TRANSFER_{name}")));
        }
    }
}
