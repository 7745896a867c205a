//! The server's configuration file, and one variable of the environment (what follows the last line `---`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::Config;

fuzz_target!(|text: &str| {
    let (file, variable) = text.rsplit_once("\n---\n").unwrap_or((text, ""));
    let (name, value) = variable.split_once('=').unwrap_or(("MATERIAL_TRANSFER_LISTEN", "127.0.0.1:0"));
    fuzz::with_file("server.toml", file.as_bytes(), |path| {
        let environment = [(name.to_owned(), value.to_owned())];
        let _ = fuzz::bounded(text.len(), 0, || Config::load(Some(path), environment, toml::Table::new()));
    });
});
