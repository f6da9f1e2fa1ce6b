//! Which option of the program does what an error of the library advises.
//!
//! The library knows no command line: its errors say what to do in words. Here the words meet the options.

use crate::error::Error;

/// Words of the library's advice, and the option that follows it.
const OPTIONS: [(&str, &str); 14] = [
    ("the CPU backend", "--device cpu"),
    ("another device", "--device"),
    ("the list of devices", "fairy2i-gpu info"),
    ("allow numbers that are not finite", "--allow-nonfinite"),
    ("fewer new tokens", "-n"),
    ("a shorter context", "-c"),
    ("float activations", "--activations float"),
    ("stages of the method fairy2i", "--method fairy2i --stages"),
    ("allow more bits", "--bits"),
    ("without profiling", "no --profile"),
    ("shorter sequences", "--seq"),
    ("the tokenizer of this model", "data --tokenizer"),
    ("replace it", "--force"),
    ("resume it", "--resume"),
];

/// `error` in one line, with the options that do what it advises.
pub(super) fn line(error: &Error) -> String {
    let text = crate::cli::out::one_line(&error.to_string());
    let fitting = OPTIONS.iter().filter(|(words, _)| text.contains(words));
    let options: Vec<_> = fitting.map(|(_, option)| *option).collect();
    match options.is_empty() {
        true => text,
        false => format!("{text} ({})", options.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every string of the library's sources, but for those of the program and of tests.
    fn sources(folder: &Path, all: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the crate") {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !["cli", "docs", "builtin"].contains(&name.as_str()) {
                sources(&path, all);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).expect("readable");
                all.push((path.display().to_string(), text));
            }
        }
    }

    fn library() -> Vec<(String, String)> {
        let mut all = Vec::new();
        sources(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
            &mut all,
        );
        all
    }

    /// The code of a line, without its comment and doc attributes.
    fn code(line: &str) -> &str {
        line.split("//").next().unwrap_or("")
    }

    #[test]
    fn the_library_names_no_option() {
        for (path, text) in library() {
            for (number, line) in text.lines().enumerate() {
                let line = code(line);
                let option = line.split(" --").nth(1).is_some_and(|rest| {
                    line.contains('"') && rest.starts_with(|c: char| c.is_ascii_lowercase())
                });
                assert!(!option, "{path}:{}: {line}", number + 1);
            }
        }
    }

    #[test]
    fn every_remedy_is_for_words_that_the_library_says() {
        let library = library();
        for (words, option) in OPTIONS {
            let said = library.iter().any(|(_, text)| {
                let joined = text.lines().map(code).collect::<String>();
                joined.contains(words)
            });
            assert!(said, "nothing says `{words}`, for which there is {option}");
        }
    }

    #[test]
    fn options_stand_behind_the_advice() {
        let error = Error::device("no room", "use the CPU backend");
        assert_eq!(line(&error), "no room; use the CPU backend (--device cpu)");
        assert_eq!(line(&Error::usage("a", "b")), "a; b");
    }
}
