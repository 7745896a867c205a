//! Where results go: the format that name and option agree on, and the pictures that are written there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use api::OutputFormat;
use pipeline::{Cancel, Outcome, Picture};

use super::target::{Target, folder, write_whole};
use crate::failure::Failure;
use crate::signal;

/// A path that can be written to, and the format it will have.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    target: Target,
    format: OutputFormat,
}

/// The files that were written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) output: PathBuf,
    pub(crate) format: OutputFormat,
    /// Name and path of each intermediate picture.
    pub(crate) intermediates: Vec<(&'static str, PathBuf)>,
}

impl Destination {
    /// Settles the format by the option, else by the extension, and makes sure that the result can be written: to standard
    /// output for `-`, to a pipe or device if the path leads to one, else to a file in a folder that takes files.
    pub(crate) fn new(path: &Path, option: Option<&str>) -> Result<Self, Failure> {
        let refuse = |reason: String| Err(Failure::Input(reason));
        let shown = path.display();
        let standard = path == Path::new("-");
        if path.is_dir() || path.file_name().is_none() {
            return refuse(format!("--output {shown}: is a folder; add a file name such as result.webp"));
        }
        if !folder(path).is_dir() {
            return refuse(format!("--output {shown}: the folder {} does not exist", folder(path).display()));
        }
        let by_name = path.extension().and_then(|extension| extension.to_str()).and_then(named_by);
        let by_option = option.and_then(|word| OutputFormat::WORDS.iter().find(|(each, _)| *each == word));
        let format = match (by_option.map(|(_, format)| *format), by_name) {
            (Some(option), Some(name)) if option != name => {
                return refuse(format!(
                    "--output-format {} contradicts --output {shown}: drop the option, or end the name in .{}",
                    option.extension(),
                    option.extension()
                ));
            }
            (Some(format), _) | (None, Some(format)) => format,
            (None, None) if standard && option.is_none() => OutputFormat::default(),
            (None, None) => match option {
                Some(word) => {
                    return refuse(format!("--output-format {word:?}: must be one of webp, jpg, png"));
                }
                None => {
                    return refuse(format!(
                        "--output {shown}: end the name in .webp, .jpg or .png, or give --output-format"
                    ));
                }
            },
        };
        let target = Target::at(path);
        let target = target
            .map_err(|error| Failure::Input(format!("--output {shown}: cannot be written: {error}")))?;
        Ok(Self { path: path.to_owned(), target, format })
    }

    /// Opens a pipe or device, waiting for its reader; the last thing before the work begins.
    pub(crate) fn ready(&mut self) -> Result<(), Failure> {
        let shown = self.path.display();
        let ready = self.target.ready();
        ready.map_err(|error| Failure::Input(format!("--output {shown}: cannot be written: {error}")))
    }

    /// Whether the picture goes to standard output, which then is no place for anything else.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self.target, Target::Standard)
    }

    /// Whether there is a folder beside the result for other files.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    pub(crate) fn format(&self) -> OutputFormat {
        self.format
    }

    /// Writes the intermediates as `NAME.<what>.png` beside the output, then the output; nothing once cancelled.
    pub(crate) fn write(
        &mut self,
        outcome: &Outcome,
        quality: u8,
        xmp: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Written, Failure> {
        let file = encode(&outcome.picture, self.format, quality, xmp)?;
        let mut intermediates = Vec::new();
        for intermediate in &outcome.intermediates {
            let path = self.path.with_extension(format!("{}.png", intermediate.name));
            let file = encode(&intermediate.picture, OutputFormat::Png, quality, xmp)?;
            intermediates.push((intermediate.name, path, file));
        }
        cancel.check()?;
        // From here on what was begun is finished.
        signal::commit();
        let failed = |path: &Path| format!("cannot write {}", path.display());
        for (_, path, file) in &intermediates {
            write_whole(path, file).with_context(|| failed(path))?;
        }
        self.target.write(&file).with_context(|| failed(&self.path))?;
        let intermediates = intermediates.into_iter().map(|(name, path, _)| (name, path)).collect();
        Ok(Written { output: self.path.clone(), format: self.format, intermediates })
    }
}

/// The format that an extension stands for.
fn named_by(extension: &str) -> Option<OutputFormat> {
    let extension = extension.to_ascii_lowercase();
    let word = if extension == "jpeg" { "jpg" } else { &extension };
    OutputFormat::WORDS.iter().find(|(each, _)| *each == word).map(|(_, format)| *format)
}

fn encode(
    picture: &Picture,
    format: OutputFormat,
    quality: u8,
    xmp: Option<&str>,
) -> Result<Vec<u8>, Failure> {
    picture.encode_with_xmp(format, quality, xmp).map_err(|error| Failure::Input(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(name: &str, option: Option<&str>) -> Result<OutputFormat, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        Destination::new(&path, option)
            .map(|destination| destination.format())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_extension_decides_unless_an_option_does() {
        assert_eq!(settled("a.png", None), Ok(OutputFormat::Png));
        assert_eq!(settled("a.JPEG", None), Ok(OutputFormat::Jpg));
        assert_eq!(settled("a.b.webp", None), Ok(OutputFormat::WebP));
        assert_eq!(settled("a", Some("jpg")), Ok(OutputFormat::Jpg));
        assert_eq!(settled("a.result", Some("png")), Ok(OutputFormat::Png));
        assert_eq!(settled("a.jpeg", Some("jpg")), Ok(OutputFormat::Jpg));
    }

    #[test]
    fn what_cannot_be_settled_is_told_with_the_remedy() {
        let message = |name, option| settled(name, option).expect_err("refused");
        assert!(message("a.png", Some("webp")).contains("end the name in .webp"));
        assert!(message("a", None).contains("--output-format"));
        assert!(message("a.gif", None).contains(".webp, .jpg or .png"));
        assert!(message("a", Some("tiff")).contains("must be one of webp, jpg, png"));
        assert!(message("missing/a.png", None).contains("does not exist"));
        assert!(message("", None).contains("is a folder"));
    }

    #[test]
    fn standard_output_has_the_usual_format_unless_an_option_says_otherwise() {
        let standard = |option| Destination::new(Path::new("-"), option).expect("settled");
        assert_eq!(standard(None).format(), OutputFormat::WebP);
        assert_eq!(standard(Some("png")).format(), OutputFormat::Png);
        assert!(standard(None).is_standard() && !standard(None).is_file());
    }
}
