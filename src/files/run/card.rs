//! The README.md of a trained model.

use super::Before;
use crate::files::corpus::{Manifest, Packing};
use crate::files::json::show;
use std::fmt::Write;

/// What a model's card tells.
#[derive(Debug, Clone, Default)]
pub struct Card<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// What training began with: a folder's name, or nothing for random weights.
    pub base: Option<&'a str>,
    /// How linear layers are represented, in words.
    pub method: &'a str,
    /// Bits of a weight in those layers, scales included.
    pub bits: f64,
    /// Parameters.
    pub parameters: u64,
    /// The command that trained it.
    pub command: &'a str,
    /// Settings worth telling: name and value.
    pub settings: Vec<(String, String)>,
    /// The device, in words.
    pub device: &'a str,
    /// Steps and tokens of training.
    pub steps: u64,
    /// Tokens of training.
    pub tokens: u64,
    /// Hours of training.
    pub hours: f64,
    /// Loss of training at its end, in nats.
    pub loss: Option<f64>,
    /// Perplexities: text, before training, after it.
    pub perplexities: Vec<(String, Option<Before>, f64)>,
    /// What the perplexities were measured with.
    pub protocol: &'a str,
    /// The data.
    pub data: Option<&'a Manifest>,
    /// File of the plot beside the card.
    pub plot: Option<&'a str>,
}

impl Card<'_> {
    /// The card in Markdown, with the head that model hubs read.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let name = plain(self.name);
        writeln!(
            to,
            "---\nlibrary_name: fairy2i-gpu\npipeline_tag: text-generation"
        )?;
        writeln!(
            to,
            "tags: [fairy2i, quantization-aware-training, {}-bit]\n---\n",
            self.bits.round()
        )?;
        writeln!(to, "# {name}\n")?;
        let from = self
            .base
            .map_or("random weights".to_owned(), |b| format!("`{}`", plain(b)));
        writeln!(
            to,
            "{} parameters, linear layers as {} ({:.2} bits a weight), trained from {from}.\n",
            self.parameters,
            plain(self.method),
            self.bits
        )?;
        self.results(to)?;
        self.training(to)?;
        self.sources(to)?;
        writeln!(to, "## Method\n")?;
        writeln!(
            to,
            "Fairy2i (arXiv 2512.02901): a linear layer `y = R x` is `y = U x + W conj(x)`, and U and W are sums of \
             matrices from {{1, i, -1, -i}} times a scale. Training keeps full-precision weights, quantizes them anew \
             every step, and passes gradients straight through the quantizer."
        )
    }

    fn results(&self, to: &mut String) -> std::fmt::Result {
        if self.perplexities.is_empty() {
            return Ok(());
        }
        writeln!(to, "## Perplexity\n\n{}\n", plain(self.protocol))?;
        writeln!(
            to,
            "| text | full precision | as {}, before training | after |\n|---|---|---|---|",
            plain(self.method)
        )?;
        for (name, before, after) in &self.perplexities {
            let [full, quantized] = match before {
                Some(before) => [before.full, before.quantized].map(|p| format!("{p:.2}")),
                None => [String::new(), String::new()],
            };
            let name = plain(name);
            writeln!(to, "| {name} | {full} | {quantized} | {after:.2} |")?;
        }
        writeln!(to)
    }

    fn training(&self, to: &mut String) -> std::fmt::Result {
        writeln!(to, "## Training\n")?;
        let loss = self
            .loss
            .map_or(String::new(), |l| format!(", to a loss of {l:.3}"));
        writeln!(
            to,
            "{} steps, {} tokens, {} on {}{loss}.\n",
            self.steps,
            self.tokens,
            duration(self.hours),
            plain(self.device)
        )?;
        if let Some(plot) = self.plot {
            writeln!(to, "![Loss and validation curves]({plot})\n")?;
        }
        if !self.settings.is_empty() {
            writeln!(to, "| setting | value |\n|---|---|")?;
            for (name, value) in &self.settings {
                writeln!(to, "| {} | {} |", plain(name), plain(value))?;
            }
            writeln!(to)?;
        }
        let command = self
            .command
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        writeln!(to, "```sh\n{}\n```\n", command.replace('`', "'"))
    }

    fn sources(&self, to: &mut String) -> std::fmt::Result {
        let Some(data) = self.data else { return Ok(()) };
        let (settings, counts) = (&data.settings, &data.counts);
        let packing = match settings.packing {
            Packing::Papers { batch } => format!("papers, batches of {batch} documents"),
            Packing::Stream => "stream".to_owned(),
        };
        writeln!(to, "## Data\n")?;
        writeln!(
            to,
            "{} documents, {} tokens, in {} blocks of {} (packing: {packing}); tokenizer {}.\n",
            counts.documents, counts.tokens, data.blocks, settings.block, settings.tokenizer.sha256
        )?;
        if let Some(n) = settings.sample_tokens {
            writeln!(
                to,
                "A sample of {n} tokens of those, with seed {}.\n",
                settings.seed
            )?;
        }
        for source in &settings.sources {
            writeln!(to, "- `{}`, {} bytes", plain(&source.path), source.bytes)?;
        }
        writeln!(to)
    }
}

/// Hours, or minutes if it is less than two hours.
fn duration(hours: f64) -> String {
    match hours < 2.0 {
        true => format!("{:.1} minutes", 60.0 * hours),
        false => format!("{hours:.1} hours"),
    }
}

/// Text that stays what it is in a line of Markdown and in a cell of a table.
fn plain(text: &str) -> String {
    show(text)
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_tells_all_of_it() {
        let card = Card {
            name: "tiny <w2>",
            base: Some("llama"),
            method: "fairy2i, 2 stages",
            bits: 2.01,
            command: "fairy2i-gpu train",
            settings: vec![("lr|x".to_owned(), "1e-3".to_owned())],
            steps: 700,
            perplexities: vec![(
                "novels".to_owned(),
                Some(Before {
                    full: 31.86,
                    quantized: 72.96,
                }),
                34.43,
            )],
            plot: Some("curves.svg"),
            ..Card::default()
        };
        let text = card.markdown();
        for word in [
            "# tiny &lt;w2>",
            "`llama`",
            "| novels | 31.86 | 72.96 | 34.43 |",
            "lr\\|x",
            "](curves.svg)",
            "2-bit",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
