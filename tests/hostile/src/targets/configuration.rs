//! The server's configuration file, and one variable of the environment (what follows the last line `---`).

use server::Config;

use crate::files::with_file;
use crate::limits::bounded;

/// One input.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (file, variable) = text.rsplit_once("\n---\n").unwrap_or((text, ""));
    let (name, value) = variable.split_once('=').unwrap_or(("MATERIAL_TRANSFER_LISTEN", "127.0.0.1:0"));
    with_file("server.toml", file.as_bytes(), |path| {
        let environment = [(name.to_owned(), value.to_owned())];
        let _ = bounded(text.len(), 0, || Config::load(Some(path), environment, toml::Table::new()));
    });
}
