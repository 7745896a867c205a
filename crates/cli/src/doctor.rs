//! `material-transfer doctor`: everything that a server needs, checked before it is started, each in one line with what to
//! do where something is missing.
//!
//! It takes the options and settings of `serve`, and changes nothing: what it writes, it removes.

mod disk;
mod golden;
mod machine;

use std::fmt;
use std::io::Write as _;

use pipeline::hub::Hub;
use pipeline::profile;
use server::Config;

use crate::arguments::ServeArguments;
use crate::failure::Failure;
use crate::{about, serve, threads};

/// How one check went.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// As it should be; what was found.
    Good(String),
    /// It works; what would be better, or should be known.
    Remark(String),
    /// It does not work; why, and what to do.
    Bad(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(text) | Self::Remark(text) | Self::Bad(text) => f.write_str(text),
        }
    }
}

/// The checks, one line each.
struct Report {
    bad: usize,
}

impl Report {
    fn line(&mut self, what: &str, verdict: &Verdict) {
        let mark = match verdict {
            Verdict::Good(_) => "ok",
            Verdict::Remark(_) => "note",
            Verdict::Bad(_) => "BAD",
        };
        self.bad += usize::from(matches!(verdict, Verdict::Bad(_)));
        // A closed pipe ends nothing: the exit code still tells.
        let _ = writeln!(std::io::stdout(), "{mark:<5} {what:<12} {verdict}");
    }
}

/// Runs all checks; [`Failure::Input`] if anything does not work.
pub(crate) fn run(options: &ServeArguments) -> Result<(), Failure> {
    let mut report = Report { bad: 0 };
    report.line("program", &Verdict::Good(format!("material-transfer {}", about::VERSION)));
    let config = match serve::load(options.config.as_deref(), options.settings.table()) {
        Ok(config) => {
            report.line("settings", &Verdict::Good(settings(&config)));
            config
        }
        Err(failure) => {
            report.line("settings", &Verdict::Bad(failure.to_string()));
            return finish(&report);
        }
    };
    threads::set(config.threads)?;
    report.line("processors", &machine::processors(config.threads));
    report.line("memory", &machine::memory());
    report.line("clock", &machine::clock());
    let (device, verdict) = machine::device(&config);
    report.line("device", &verdict);
    report.line("profile", &weights(&config));
    report.line("port", &machine::port(&config));
    report.line("data folder", &disk::folder(&config.data_dir));
    if let Some(device) = device {
        report.line("transfer", &golden::transfer(&device));
    }
    finish(&report)
}

fn finish(report: &Report) -> Result<(), Failure> {
    match report.bad {
        0 => Ok(()),
        1 => Err(Failure::Input("one thing is to be put right; see BAD above".to_owned())),
        several => Err(Failure::Input(format!("{several} things are to be put right; see BAD above"))),
    }
}

/// Who may call, which is what people get wrong most.
fn settings(config: &Config) -> String {
    match config.api_key.len() + config.keys.len() {
        0 => "no key is asked for: open to everybody who reaches the address".to_owned(),
        1 => "one key".to_owned(),
        several => format!("{several} keys"),
    }
}

/// The profile, and whether the files are there that it needs.
fn weights(config: &Config) -> Verdict {
    let profile = match profile::load(&config.profile) {
        Ok(profile) => profile,
        Err(error) => return Verdict::Bad(error.to_string()),
    };
    match pipeline::check_files(&profile) {
        Ok(()) if config.profile == "exemplar" => {
            Verdict::Good("exemplar; its networks are in this program".to_owned())
        }
        Ok(()) => Verdict::Good(format!(
            "{}; its files are in {}",
            config.profile,
            Hub::from_env().folder().display()
        )),
        Err(error) => Verdict::Bad(error.to_string()),
    }
}
