//! Configuration files: TOML, overridden by the command line, and what came of both.

use crate::error::{Error, Result};
use crate::files::json::{differences, show};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// The settings of a file (its name and text), where `command_line` says nothing else, and those of `base` (TOML), where
/// the file says nothing either. Fields that none of them has must have a default in `T`; with `deny_unknown_fields` there, a misspelt field is an error.
///
/// `command_line` serializes to those fields that were given: `Option`s that are `None` are left out.
///
/// # Errors
/// [`Error::File`] naming the file and the field.
pub fn merged<T: DeserializeOwned>(
    base: &str,
    file: Option<(&str, &str)>,
    command_line: &impl Serialize,
) -> Result<T> {
    let name = file.map_or("the command line", |(name, _)| name);
    let bad = |e: &dyn std::fmt::Display| {
        let text = e.to_string();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Error::file(show(name), show(&line), "correct the field")
    };
    let parse = |text: &str| text.parse().map_err(|e: toml::de::Error| bad(&e));
    let mut table: Table = parse(base)?;
    override_with(&mut table, parse(file.map_or("", |(_, text)| text))?);
    let over = Table::try_from(command_line).map_err(|e| bad(&e))?;
    override_with(&mut table, over);
    table.try_into().map_err(|e: toml::de::Error| bad(&e))
}

/// Takes every value of `over`, table by table.
fn override_with(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => override_with(inner, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// The text of the effective configuration, to be written beside the checkpoints.
///
/// # Errors
/// [`Error::Usage`] when `config` has no form in TOML.
pub fn text(config: &impl Serialize) -> Result<String> {
    toml::to_string_pretty(config)
        .map_err(|e| Error::usage(e.to_string(), "please report this as a bug"))
}

/// Refuses to go on with another configuration than that of `then` (a file's name and text): lists the fields that
/// differ, then and now. Fields in `free` may differ (how often to save, for instance).
///
/// # Errors
/// [`Error::Usage`] with the fields, [`Error::File`] when the file is no TOML.
pub fn check_same(then: (&str, &str), now: &impl Serialize, free: &[&str]) -> Result<()> {
    let (file, text) = then;
    let table = |text: &str| -> Result<serde_json::Value> {
        let mut table: Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            Error::file(show(file), show(&line), "restore the file of this run")
        })?;
        table.retain(|key, _| !free.contains(&key));
        serde_json::to_value(table)
            .map_err(|e| Error::usage(e.to_string(), "please report this as a bug"))
    };
    let differing = differences(&table(text)?, &table(&self::text(now)?)?);
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::usage(
        format!(
            "{} is of a run with other settings (then, now): {}",
            show(file),
            differing.join("; ")
        ),
        "resume with the settings of that run, or begin another",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        lr: f64,
        steps: u64,
        adam: Adam,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Adam {
        betas: [f64; 2],
        eps: f64,
    }

    impl Default for Config {
        fn default() -> Self {
            let adam = Adam::default();
            Self {
                lr: 1e-3,
                steps: 10,
                adam,
            }
        }
    }

    impl Default for Adam {
        fn default() -> Self {
            Self {
                betas: [0.9, 0.95],
                eps: 1e-8,
            }
        }
    }

    #[derive(Serialize)]
    struct Given {
        lr: Option<f64>,
        steps: Option<u64>,
        adam: Inner,
    }

    #[derive(Serialize)]
    struct Inner {
        eps: Option<f64>,
    }

    const NOTHING: Given = Given {
        lr: None,
        steps: None,
        adam: Inner { eps: None },
    };

    #[test]
    fn the_command_line_wins_over_the_file_over_the_default() {
        let file = "lr = 0.5\nsteps = 7\n[adam]\nbetas = [0.8, 0.9]\n";
        let given = Given {
            steps: Some(8),
            adam: Inner { eps: Some(1e-6) },
            ..NOTHING
        };
        let config: Config = merged("", Some(("a.toml", file)), &given).unwrap();
        assert_eq!((config.lr, config.steps), (0.5, 8));
        assert_eq!(
            config.adam,
            Adam {
                betas: [0.8, 0.9],
                eps: 1e-6
            }
        );
        assert_eq!(
            merged::<Config>("", None, &NOTHING).unwrap(),
            Config::default()
        );
        let config: Config =
            merged("lr = 0.25\nsteps = 3", Some(("a.toml", file)), &NOTHING).unwrap();
        assert_eq!((config.lr, config.steps), (0.5, 7));
        let again: Config = merged("", Some(("b", &text(&config).unwrap())), &NOTHING).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        for (file, word) in [("rl = 1", "rl"), ("lr = \"x\"", "lr"), ("lr = ", "a.toml")] {
            let error = merged::<Config>("", Some(("a.toml", file)), &NOTHING).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("a.toml") && message.contains(word),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn other_settings_are_listed() {
        let then = text(&Config::default()).unwrap();
        let mut now = Config::default();
        check_same(("c.toml", &then), &now, &[]).unwrap();
        (now.steps, now.adam.eps) = (11, 1e-7);
        check_same(("c.toml", &then), &now, &["steps", "adam"]).unwrap();
        let message = check_same(("c.toml", &then), &now, &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("steps: 10, 11") && message.contains("adam.eps: 1e-8, 1e-7"),
            "{message}"
        );
    }
}
