//! The command line. Each option is an environment variable too: `MATERIAL_TRANSFER_` and its name in capitals.
//!
//! Values of API parameters are kept as the text that was given: ranges, defaults and coercions are the API's own
//! (crate `api`), so that the command line and the server cannot differ.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use toml::{Table, Value};

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
        required_unless_present = "pictures",
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
    /// Threads that compute on the CPU; 0 is one a processor.
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
    /// Subject and material, however they were given.
    pub(crate) fn pictures(&self) -> [&str; 2] {
        match self.pictures.as_slice() {
            [subject, material] => [subject, material],
            _ => [&self.subject, &self.material].map(|option| option.as_deref().unwrap_or_default()),
        }
    }
}

/// The API's parameters, each as text; `None` was not given.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Parameters")]
pub(crate) struct ParameterArguments {
    /// What the picture shows once the material is on it, for engines that read text [default: marble sculpture].
    #[arg(long, value_name = "TEXT", env = "MATERIAL_TRANSFER_PROMPT")]
    prompt: Option<String>,
    /// What the picture must not show, for engines that read text.
    #[arg(long, value_name = "TEXT", env = "MATERIAL_TRANSFER_NEGATIVE_PROMPT")]
    negative_prompt: Option<String>,
    /// 1 to 10: how closely the result keeps to the prompt; with `exemplar`, from the subject's shading to the material's own [default: 2].
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_GUIDANCE_SCALE")]
    guidance_scale: Option<String>,
    /// Sampler steps: more takes longer and brings more detail, up to about 20 [default: 6].
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_STEPS")]
    steps: Option<String>,
    /// The result is at most this wide, in pixels; nothing is enlarged [default: 1920].
    #[arg(long, value_name = "PIXELS", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_MAX_WIDTH")]
    max_width: Option<String>,
    /// The result is at most this high, in pixels [default: 1920].
    #[arg(long, value_name = "PIXELS", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_MAX_HEIGHT")]
    max_height: Option<String>,
    /// How strongly the material replaces the subject's surface: medium or strong [default: medium].
    #[arg(long, value_name = "WORD", env = "MATERIAL_TRANSFER_MATERIAL_STRENGTH")]
    material_strength: Option<String>,
    /// Repeats a result; random when not given, and printed at the end.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_SEED")]
    seed: Option<String>,
    /// webp, jpg or png [default: by the output's extension].
    #[arg(long, value_name = "FORMAT", env = "MATERIAL_TRANSFER_OUTPUT_FORMAT")]
    pub(crate) output_format: Option<String>,
    /// 0 to 100, for webp and jpg [default: 80].
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, env = "MATERIAL_TRANSFER_OUTPUT_QUALITY")]
    output_quality: Option<String>,
    /// Also write mask and other pictures from inside the transfer, as NAME.mask.png … beside the output.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        env = "MATERIAL_TRANSFER_RETURN_INTERMEDIATE_IMAGES"
    )]
    return_intermediate_images: Option<String>,
}

impl ParameterArguments {
    /// Those that were given, by the API's names.
    pub(crate) fn given(&self) -> Vec<(&'static str, &str)> {
        [
            ("prompt", &self.prompt),
            ("negative_prompt", &self.negative_prompt),
            ("guidance_scale", &self.guidance_scale),
            ("steps", &self.steps),
            ("max_width", &self.max_width),
            ("max_height", &self.max_height),
            ("material_strength", &self.material_strength),
            ("seed", &self.seed),
            ("output_format", &self.output_format),
            ("output_quality", &self.output_quality),
            ("return_intermediate_images", &self.return_intermediate_images),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .collect()
    }
}

/// Options of `serve`. They are the settings that people change most; all others can be given in the file or as
/// environment variables (`docs/configuration.md`). The server reads the environment itself, so that an option stands
/// above a variable and a variable above the file.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "MATERIAL_TRANSFER_CONFIG", help_heading = "Files")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on, such as 0.0.0.0:8000 [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDR", help_heading = "Network")]
    listen: Option<String>,
    /// Folder for jobs and pictures; one server a folder [default: data].
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    data_dir: Option<String>,
    /// PostgreSQL that many servers and workers share, in place of the folder. A password is better in the environment.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// S3-compatible store for pictures, with --database: s3://bucket/prefix.
    #[arg(long, value_name = "URL")]
    files: Option<String>,
    /// Workers, each with an engine of its own; 0 with --database: others work [default: 1].
    #[arg(long, value_name = "NUMBER")]
    workers: Option<u32>,
    /// Profile of the engine: a name, or a path to a profile file [default: exemplar].
    #[arg(long, value_name = "NAME|FILE", help_heading = "Engine")]
    profile: Option<String>,
    /// What computes: auto, cpu, cuda or metal [default: auto].
    #[arg(long, value_name = "DEVICE", help_heading = "Engine")]
    device: Option<String>,
    /// Threads that compute on the CPU, for all workers together [default: one a processor].
    #[arg(long, value_name = "NUMBER", help_heading = "Engine")]
    threads: Option<u32>,
    /// A key that clients must send; repeat it for several. Without any, the server is open to everybody who reaches it.
    #[arg(long, value_name = "KEY", help_heading = "Keys")]
    api_key: Vec<String>,
    /// A file with such keys, one on each line; unlike `--api-key` it does not show in the list of processes.
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    api_key_file: Option<String>,
    /// How long results are kept, such as 90s or 1h [default: 1h].
    #[arg(long, value_name = "SPAN", help_heading = "Files")]
    result_ttl: Option<String>,
    /// The address that clients reach, for the links in answers; such as `https://pictures.example/api`.
    #[arg(long, value_name = "URL", help_heading = "Network")]
    public_url: Option<String>,
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

impl ServeArguments {
    /// The settings that were given, by the configuration's names.
    pub(crate) fn settings(&self) -> Table {
        let texts = [
            ("listen", &self.listen),
            ("data_dir", &self.data_dir),
            ("database", &self.database),
            ("files", &self.files),
            ("api_key_file", &self.api_key_file),
            ("profile", &self.profile),
            ("device", &self.device),
            ("result_ttl", &self.result_ttl),
            ("public_url", &self.public_url),
        ];
        let mut settings: Table = texts
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))))
            .collect();
        for (name, number) in [("threads", self.threads), ("workers", self.workers)] {
            if let Some(number) = number {
                settings.insert(name.to_owned(), Value::from(number));
            }
        }
        if !self.api_key.is_empty() {
            settings.insert("api_key".to_owned(), Value::from(self.api_key.clone()));
        }
        settings
    }
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
    /// Show the workers that have reported themselves lately, one JSON object a line.
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
        let config = server::Config::load(None, [], serve.settings()).expect("accepted");
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
