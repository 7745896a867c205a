//! A test that needs a process of its own (to kill it, to limit it) runs its own test binary again, with one test and
//! an environment variable that tells that test to play the other part.

use std::{path::Path, process::Command};

/// The variable that carries the data directory to the other process.
const VARIABLE: &str = "JOBS_TEST_DIRECTORY";

/// The arguments that make this test binary run `test` alone, its output unhidden.
pub(crate) fn arguments(test: &str) -> Vec<String> {
    let binary = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    vec![binary, "--exact".into(), test.into(), "--nocapture".into()]
}

/// Makes `command` play the other part on `directory`.
pub(crate) fn on<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    command.env(VARIABLE, directory)
}

/// The directory, in the other process; `None` in an ordinary run of the tests.
pub(crate) fn directory() -> Option<std::path::PathBuf> {
    std::env::var_os(VARIABLE).map(Into::into)
}
