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

use api::{FormValue, RequestError, Schema};
use pipeline::{Cancel, Engine, Outcome, Settings, Transfer, profile};

use crate::arguments::TransferArguments;
use crate::failure::Failure;
use crate::{signal, threads};

use self::output::Destination;
use self::report::Report;
use self::watch::Watch;

/// What the API calls the two pictures, and what the command line does.
const PICTURES: [(&str, &str); 2] = [("subject_image", "--subject"), ("material_image", "--material")];

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
    let subject = source::picture(request.subject_image, PICTURES[0].1, &runtime, &cancel, enough.subject)?;
    let material =
        source::picture(request.material_image, PICTURES[1].1, &runtime, &cancel, enough.material)?;
    let decoding = fetched.elapsed();

    let transfer = Transfer { subject, material, settings };
    let mut outcome = execute(engine.as_ref(), &transfer, &watch, &cancel)?;
    // An engine names every parameter it has no use for; defaults that nobody gave are no news.
    outcome.ignored.retain(|name| arguments.parameters.get(name).is_some());
    outcome.timings.insert(0, ("read", decoding));

    let encoding = Instant::now();
    let written = destination.write(&outcome, request.parameters.output_quality, &cancel)?;
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
    let [subject, material] = arguments.pictures();
    let mut form = vec![
        (PICTURES[0].0.to_owned(), source::given(subject, PICTURES[0].1)?),
        (PICTURES[1].0.to_owned(), source::given(material, PICTURES[1].1)?),
    ];
    for (name, value) in arguments.parameters.given() {
        form.push((name.to_owned(), FormValue::Text(value.to_owned())));
    }
    if arguments.parameters.get("output_format").is_none() {
        form.push(("output_format".to_owned(), FormValue::Text(destination.format().extension().to_owned())));
    }
    Schema::default().from_form(form).map_err(|error| Failure::Input(in_options(&error)))
}

/// The API's complaint, one line a field, with the names that were used at the terminal.
fn in_options(error: &RequestError) -> String {
    let lines = error.details().iter().map(|bad| {
        let picture = PICTURES.iter().find(|(field, _)| *field == bad.field);
        let option = picture.map_or_else(|| option(bad.field), |(_, option)| (*option).to_owned());
        format!("{option}: {}", bad.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The option of a parameter.
fn option(parameter: &str) -> String {
    format!("--{}", parameter.replace('_', "-"))
}

fn execute(
    engine: &dyn Engine,
    transfer: &Transfer,
    watch: &Watch,
    cancel: &Cancel,
) -> Result<Outcome, Failure> {
    watch.keep("subject", &transfer.subject);
    watch.keep("material", &transfer.material);
    let outcome = engine.transfer(transfer, watch, cancel);
    watch.finish();
    let outcome = outcome?;
    watch.keep("output", &outcome.picture);
    watch.trouble()?;
    Ok(outcome)
}
