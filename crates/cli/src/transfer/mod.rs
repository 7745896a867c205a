//! `material-transfer transfer`: two pictures in, one picture out, at the terminal.
//!
//! The options become an API request, read by the API's own schema, so ranges and defaults are the server's. Everything
//! is checked that can be before the engine starts, writing included; a file is written under a temporary name and then
//! renamed, so that a stopped or failed run leaves no half of one.

mod output;
mod report;
mod source;
mod target;
mod watch;

use std::time::Instant;

use api::{FormValue, Kind, RequestError, Schema};
use pipeline::{Cancel, Engine, Outcome, Provenance, Settings, Transfer, profile};

use crate::arguments::{Given, TransferArguments};
use crate::failure::Failure;
use crate::{signal, threads};

use self::output::Destination;
use self::report::Report;
use self::watch::Watch;

pub(crate) fn run(arguments: &TransferArguments) -> Result<(), Failure> {
    let began = Instant::now();
    threads::set(arguments.threads)?;
    let mut destination = Destination::new(&arguments.output, arguments.parameters.get("output_format"))?;
    let request = request(arguments, &destination)?;
    if request.parameters.return_intermediate_images && !destination.is_file() {
        let reason = "--return-intermediate-images: needs a file as --output, beside which the pictures go";
        return Err(Failure::Input(reason.to_owned()));
    }
    destination.ready()?;
    let watch = Watch::new(arguments.trace.as_deref(), arguments.json)?;
    let runtime = signal::runtime()?;
    let cancel = signal::cancel_on_stop(&runtime);

    let profile = profile::load(&arguments.profile)?;
    let opened = pipeline::open(arguments.device.parse()?)?;
    for warning in &opened.warnings {
        eprintln!("warning: {warning}");
    }
    let engine = pipeline::engine(&profile, &opened.device)?;
    let fetched = Instant::now();
    let seed = Settings::seed_of(&request.parameters);
    let settings = Settings::of(&request.parameters, seed);
    let enough = engine.enough(&settings);
    let pictures = request
        .pictures
        .try_map(|name, source| source::picture(source, &option(name), &runtime, &cancel, enough.of(name)))?;
    let decoding = fetched.elapsed();

    let transfer = Transfer { pictures, settings };
    let mut outcome = execute(engine.as_ref(), &transfer, &watch, &cancel)?;
    let provenance = Provenance {
        version: env!("CARGO_PKG_VERSION"),
        profile: &arguments.profile,
        settings: &transfer.settings,
    };
    let xmp = request.parameters.provenance.then(|| provenance.xmp(&outcome));
    // An engine names every parameter it has no use for; defaults that nobody gave are no news.
    outcome.ignored.retain(|name| arguments.parameters.get(name).is_some());
    outcome.timings.insert(0, ("read", decoding));

    let encoding = Instant::now();
    let written = destination.write(&outcome, request.parameters.output_quality, xmp.as_deref(), &cancel)?;
    outcome.timings.push(("write", encoding.elapsed()));
    outcome.timings.push(("total", began.elapsed()));
    let report = Report { engine: engine.name(), seed, outcome: &outcome, written: &written };
    report.print(arguments.json, arguments.trace.as_deref(), destination.is_standard())
}

/// The options as an API request. Files are read here, URLs only understood.
fn request(
    arguments: &TransferArguments,
    destination: &Destination,
) -> Result<api::TransferRequest, Failure> {
    let (subject, material) = arguments.pictures();
    let named = [("subject_image", Some(subject)), ("material_image", material)];
    let mut form = Vec::new();
    for (name, path) in named {
        if let Some(path) = path {
            form.push((name.to_owned(), source::given(path, &option(name))?));
        }
    }
    for Given { name, value, kind } in arguments.parameters.given() {
        let value = match kind {
            Kind::Picture | Kind::Pictures => source::given(value, &option(name))?,
            _ => FormValue::Text(value.clone()),
        };
        form.push(((*name).to_owned(), value));
    }
    if arguments.parameters.get("output_format").is_none() {
        form.push(("output_format".to_owned(), FormValue::Text(destination.format().extension().to_owned())));
    }
    Schema::default().from_form(form).map_err(|error| Failure::Input(in_options(&error)))
}

/// The API's complaint, one line a field, with the names that were used at the terminal.
fn in_options(error: &RequestError) -> String {
    let lines = error.details().iter().map(|bad| format!("{}: {}", option(bad.field), bad.message));
    lines.collect::<Vec<_>>().join("\n")
}

/// The option of a parameter, or of one picture of a list.
fn option(parameter: &str) -> String {
    match parameter {
        "subject_image" => "--subject".to_owned(),
        "material_image" => "--material".to_owned(),
        _ => {
            let (name, number) = parameter.split_once('[').unwrap_or((parameter, ""));
            let number = number
                .trim_end_matches(']')
                .parse()
                .map_or_else(|_| String::new(), |at: usize| format!(" (number {})", at + 1));
            format!("--{}{number}", name.replace('_', "-"))
        }
    }
}

fn execute(
    engine: &dyn Engine,
    transfer: &Transfer,
    watch: &Watch,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    watch.keep("subject", transfer.subject());
    for (name, picture) in transfer.pictures.iter().filter(|(name, _)| *name != "subject_image") {
        watch.keep(name.trim_end_matches("_image"), picture);
    }
    let outcome = engine.transfer(transfer, watch, cancel);
    watch.finish();
    let outcome = outcome?;
    watch.keep("output", &outcome.picture);
    watch.trouble()?;
    Ok(outcome)
}
