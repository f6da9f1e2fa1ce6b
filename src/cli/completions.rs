//! `completions`: a script that teaches a shell our words.

use super::out;
use crate::error::Result;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu completions bash > ~/.local/share/bash-completion/completions/fairy2i-gpu
  fairy2i-gpu completions zsh  > ~/.zfunc/_fairy2i-gpu
  fairy2i-gpu completions fish > ~/.config/fish/completions/fairy2i-gpu.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints the script; into memory first, because the generator panics on a closed pipe.
    pub(super) fn run(self, mut command: clap::Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "fairy2i-gpu", &mut script);
        out::print(&String::from_utf8_lossy(&script))
    }
}
