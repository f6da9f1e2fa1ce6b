//! What is measured of a model: prompts, decoding, both, at a depth, in how many streams.

use crate::error::{Error, Result};

/// One thing to measure. At least one of `prompt` and `generate` is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens generated one by one, each the most likely one.
    pub generate: usize,
    /// Tokens that are in the cache before.
    pub depth: usize,
    /// Texts at the same time.
    pub streams: usize,
}

impl Test {
    /// llama-bench's name for it: `pp512`, `tg128`, `pp512+tg128`, with ` @ d4096` and ` x8` where they are not 0 and 1.
    pub(super) fn name(self) -> String {
        let mut parts = Vec::new();
        if self.prompt > 0 {
            parts.push(format!("pp{}", self.prompt));
        }
        if self.generate > 0 {
            parts.push(format!("tg{}", self.generate));
        }
        let mut name = parts.join("+");
        if self.depth > 0 {
            name += &format!(" @ d{}", self.depth);
        }
        if self.streams > 1 {
            name += &format!(" x{}", self.streams);
        }
        name
    }

    /// Tokens it processes in one stream.
    pub(super) fn tokens(self) -> usize {
        self.prompt.saturating_add(self.generate)
    }

    /// Positions of the cache it needs.
    pub(super) fn context(self) -> usize {
        self.depth.saturating_add(self.tokens())
    }
}

/// The values of `-p`, `-n`, `-pg`, `-d` and `-np`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TestArgs {
    /// Prompt lengths (0: none)
    #[arg(
        short,
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "64"
    )]
    pub prompt: Vec<usize>,
    /// Numbers of tokens to generate (0: none)
    #[arg(
        short,
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "32"
    )]
    pub n_gen: Vec<usize>,
    /// A prompt and then tokens to generate, timed together (also -pg; may be repeated)
    #[arg(long, value_name = "P,N", value_parser = pair)]
    pub pg: Vec<(usize, usize)>,
    /// Tokens in the cache before each test
    #[arg(
        short,
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "0"
    )]
    pub depth: Vec<usize>,
    /// Numbers of texts generated at the same time (also -np)
    #[arg(
        long = "parallel",
        alias = "streams",
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "1"
    )]
    pub streams: Vec<usize>,
}

impl TestArgs {
    /// The tests they describe: for each depth prompts, then decoding and pairs with each number of streams.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none, or where a number makes no sense.
    pub(super) fn tests(&self) -> Result<Vec<Test>> {
        if self.streams.contains(&0) {
            return Err(Error::usage(
                "0 streams generate nothing",
                "give -np above 0",
            ));
        }
        let mut tests = Vec::new();
        for &depth in &self.depth {
            let one = |prompt, generate, streams| Test {
                prompt,
                generate,
                depth,
                streams,
            };
            tests.extend(self.prompt.iter().map(|&n| one(n, 0, 1)));
            for &streams in &self.streams {
                tests.extend(self.n_gen.iter().map(|&n| one(0, n, streams)));
                // prompts are measured in one stream
                tests.extend(
                    self.pg
                        .iter()
                        .map(|&(p, n)| one(p, n, streams))
                        .filter(|t| t.streams == 1),
                );
            }
        }
        tests.retain(|t| t.tokens() > 0);
        if tests.is_empty() {
            return Err(Error::usage(
                "there is nothing to measure",
                "give -p, -n or --pg above 0",
            ));
        }
        Ok(tests)
    }
}

/// `512,128`.
fn pair(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(',');
    let parts = parts.and_then(|(p, n)| Some((p.trim().parse().ok()?, n.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected two numbers: P,N".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(streams: &[usize]) -> TestArgs {
        TestArgs {
            prompt: vec![512, 0],
            n_gen: vec![32],
            pg: vec![(512, 128)],
            depth: vec![0, 4096],
            streams: streams.to_vec(),
        }
    }

    #[test]
    fn names_are_those_of_llama_bench() {
        let names: Vec<_> = args(&[1])
            .tests()
            .expect("fine")
            .iter()
            .map(|t| t.name())
            .collect();
        let at_0 = ["pp512", "tg32", "pp512+tg128"];
        let deep = ["pp512 @ d4096", "tg32 @ d4096", "pp512+tg128 @ d4096"];
        assert_eq!(names, [at_0, deep].concat());
        let streams = Test {
            prompt: 0,
            generate: 32,
            depth: 4096,
            streams: 8,
        };
        assert_eq!(streams.name(), "tg32 @ d4096 x8");
        assert_eq!(streams.context(), 4128);
    }

    #[test]
    fn nothing_is_an_error() {
        assert_eq!(args(&[0]).tests().expect_err("refused").exit_code(), 2);
        let mut none = args(&[1]);
        (none.prompt, none.n_gen, none.pg) = (vec![0], vec![], vec![(0, 0)]);
        assert!(none.tests().is_err());
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("512,128"), Ok((512, 128)));
        for bad in ["512", "512,", "a,b", "1,2,3", "-1,2"] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }
}
