//! Plugin files, really built and dropped into real folders: what is accepted, and the sentence for what is not.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod build;
mod catalogue;
mod command;
mod configuration;
mod described;
mod entered;
mod hostile;
mod inspected;
mod placed;
mod several;

use build::Workshop;
use im_bridge::loader::config::{PluginsConfig, StageMode};
use im_bridge::loader::{Loaded, Loader, Refusal};
use std::path::Path;

impl Workshop {
    /// Strict, with copies in a folder of the workshop's own.
    fn config(&self) -> PluginsConfig {
        PluginsConfig {
            stage: StageMode::Dir,
            stage_dir: self.path().join("stage"),
            ..PluginsConfig::default()
        }
    }

    fn load(&self, file: &Path) -> Result<&'static Loaded, Refusal> {
        Loader::new(self.config()).unwrap().load(file)
    }

    /// `code: sentence` for everything that speaks against the file, without what differs from run to run.
    fn refusal(&self, file: &Path) -> String {
        self.told(file, &self.load(file).unwrap_err())
    }

    fn told(&self, file: &Path, refusal: &Refusal) -> String {
        let sentences: Vec<_> = refusal
            .sentences()
            .map(|(code, sentence)| format!("{code}: {sentence}"))
            .collect();
        let mut text = sentences.join("\n");
        // A pipe would wait for its writer.
        if file.is_file()
            && let Ok(content) = std::fs::read(file)
        {
            let hash = im_bridge::loader::Sha256::of(&content);
            text = text.replace(&hash.to_string(), "<sha256>");
            text = text.replace(&hash.short(), "<sha>");
        }
        text.replace(self.path().to_str().unwrap(), "<dir>")
    }
}

/// What a test needs and this machine does not offer.
fn skip(reason: &str) {
    use std::io::Write;
    eprintln!("skipped: {reason}");
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("skips.txt");
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(list);
    if let Ok(mut file) = file {
        let _ = writeln!(file, "loader: {reason}");
    }
}

const NONE: &[&str] = &[];
