//! Recipes of the papers by name: settings that a file or the command line may still change.

use serde::{Deserialize, Serialize};

/// A paper's way of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// From scratch as iFairy's models (arXiv 2508.05571): one stage, activations of 8 bits, two lines down from 1.5e-3 after
    /// 375 steps of warm-up, weight decay in the first half
    Ifairy,
    /// From a full-precision model as Fairy2i-W2 (arXiv 2512.02901): two stages, steps of 512 x 2048 tokens, 3e-5 with two decays
    Fairy2i,
}

impl Preset {
    /// Its settings in TOML, with the names of [`Settings`](super::Settings).
    pub fn text(self) -> &'static str {
        match self {
            Self::Ifairy => {
                "from_scratch = true\nmethod = \"fairy2i\"\nstages = 1\nskip_lm_head = true\nactivations = \"8\"\n\
                 lr = 1.5e-3\nwarmup = 375\nschedule = \"two_stage_linear\"\nweight_decay = 0.1\ndecay_first_half = true\n\
                 betas = [0.9, 0.95]\nclip = 2.0\n"
            }
            Self::Fairy2i => {
                "method = \"fairy2i\"\nstages = 2\nsteps = 30000\nseq = 2048\nbatch_tokens = 1048576\nlr = 3e-5\n\
                 warmup = 300\nschedule = \"fairy2i_w2\"\nweight_decay = 0.0\nbetas = [0.9, 0.95]\nclip = 2.0\n\
                 save_every = 1000\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Settings;

    #[test]
    fn presets_are_settings() {
        for preset in [Preset::Ifairy, Preset::Fairy2i] {
            let settings: Settings = toml::from_str(preset.text()).expect("settings");
            settings.learning_rates().expect("a schedule");
            settings.recipe().expect("a recipe");
        }
    }
}
