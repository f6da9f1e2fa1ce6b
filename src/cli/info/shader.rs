//! `info --shader`: the kernels there are, and what a device gets for one of them.

use crate::backend::translate::{Params, Pipeline, pipelines};
use crate::cli::out;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Words of SPIR-V on a line.
const WORDS: usize = 8;

/// Which kernel, for which graphics interface.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kernels")]
pub(super) struct ShaderArgs {
    /// Print what a device gets for this kernel; without NAME, list all kernels
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["model", "check"])]
    pub shader: Option<String>,
    /// The language: spirv (Vulkan, in hexadecimal words), msl (Metal), hlsl (Direct3D 12), wgsl (browsers)
    #[arg(long, value_enum, default_value = "wgsl", requires = "shader")]
    to: Language,
    /// Which set of values for its overrides, of those that the listing counts
    #[arg(long, value_name = "N", default_value_t = 0, requires = "shader")]
    variant: usize,
    /// Write it to this new file instead; SPIR-V as bytes
    #[arg(long, value_name = "FILE", requires = "shader")]
    out: Option<PathBuf>,
}

/// What graphics interfaces are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Language {
    /// Vulkan
    Spirv,
    /// Metal
    Msl,
    /// Direct3D 12
    Hlsl,
    /// Browsers; also what everything else is translated from
    Wgsl,
}

/// A kernel, for the listing.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    op: &'static str,
    needs: Vec<&'static str>,
    variants: usize,
}

/// A translated kernel.
#[derive(Serialize)]
struct Translated {
    name: &'static str,
    op: &'static str,
    language: Language,
    variant: usize,
    variants: usize,
    overrides: Vec<(&'static str, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<u32>>,
}

/// Prints the kernel `name`, or all names.
pub(super) fn run(name: &str, args: &ShaderArgs, json: bool) -> Result<()> {
    if name.is_empty() {
        return list(args, json);
    }
    let found = pipelines(&|stem| stem == name);
    if found.is_empty() {
        return Err(unknown(name));
    }
    let Some(pipeline) = found.get(args.variant) else {
        return Err(Error::usage(
            format!("`{name}` has no variant {}", args.variant),
            format!("choose one of 0 to {}", found.len() - 1),
        ));
    };
    let translated = translate(pipeline, args, found.len())?;
    match &args.out {
        Some(path) => save(path, &translated),
        None if json => out::json(&translated),
        None => {
            out::note(&describe(&translated));
            out::print(&text(&translated))
        }
    }
}

fn list(args: &ShaderArgs, json: bool) -> Result<()> {
    if args.out.is_some() {
        return Err(Error::usage(
            "no kernel to write",
            "name one: --shader NAME",
        ));
    }
    let mut all: Vec<Listed> = Vec::new();
    for pipeline in pipelines(&|_| true) {
        match all.last_mut().filter(|l| l.name == pipeline.shader.stem) {
            Some(listed) => listed.variants += 1,
            None => all.push(Listed {
                name: pipeline.shader.stem,
                op: pipeline.op,
                needs: crate::cli::info::devices::names(pipeline.shader.features),
                variants: 1,
            }),
        }
    }
    if json {
        return out::json(&all);
    }
    let row = |l: &Listed| {
        let needs = match l.needs.as_slice() {
            [] => "nothing".to_owned(),
            some => some.join(" "),
        };
        vec![
            l.name.to_owned(),
            l.op.to_owned(),
            needs,
            l.variants.to_string(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    out::print(&out::table(
        &["kernel", "of op", "needs", "variants"],
        &rows,
    ))
}

fn translate(pipeline: &Pipeline, args: &ShaderArgs, variants: usize) -> Result<Translated> {
    // browsers have no immediates
    let params = match args.to {
        Language::Wgsl => Params::Uniform,
        _ => Params::Immediate,
    };
    let configured = || pipeline.configure(params);
    let (mut text, mut words) = (None, None);
    let done = match args.to {
        Language::Spirv => configured()
            .and_then(|c| c.spirv())
            .map(|w| words = Some(w)),
        Language::Msl => configured().and_then(|c| c.msl()).map(|t| text = Some(t)),
        Language::Hlsl => configured()
            .and_then(|c| c.hlsl())
            .map(|t| text = Some(t.0)),
        Language::Wgsl => {
            text = Some(pipeline.wgsl(params));
            Ok(())
        }
    };
    let name = pipeline.shader.stem;
    done.map_err(|error| {
        let what = format!("`{name}` cannot be translated: {}", out::one_line(&error));
        Error::usage(what, "choose another language")
    })?;
    Ok(Translated {
        name,
        op: pipeline.op,
        language: args.to,
        variant: args.variant,
        variants,
        overrides: pipeline.overrides.clone(),
        text,
        words,
    })
}

/// One line on which of its variants a kernel is.
fn describe(t: &Translated) -> String {
    let values = t
        .overrides
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let values: Vec<_> = values.collect();
    let values = match values.as_slice() {
        [] => "no overrides".to_owned(),
        some => some.join(" "),
    };
    let last = t.variants - 1;
    format!(
        "{} of op {}, variant {} of 0 to {last}: {values}",
        t.name, t.op, t.variant
    )
}

fn text(t: &Translated) -> String {
    let words = t.words.iter().flat_map(|words| words.chunks(WORDS));
    let lines = words.map(|line| {
        let words: Vec<_> = line.iter().map(|word| format!("{word:08x}")).collect();
        words.join(" ") + "\n"
    });
    let mut text = t.text.clone().unwrap_or_default() + &lines.collect::<String>();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a translation to a file that is not there yet.
fn save(path: &Path, t: &Translated) -> Result<()> {
    let bytes = match &t.words {
        Some(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        None => text(t).into_bytes(),
    };
    out::save(path, &bytes, false).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            let what = format!("{} is there already", path.display());
            Error::usage(what, "name a new file")
        }
        _ => Error::io(path, error),
    })
}

fn unknown(name: &str) -> Error {
    let mut similar: Vec<_> = pipelines(&|stem| stem.contains(name))
        .iter()
        .map(|p| p.shader.stem)
        .collect();
    similar.dedup();
    let hint = match similar.as_slice() {
        [] => "`info --shader` lists all".to_owned(),
        some => format!("did you mean {}?", some.join(", ")),
    };
    Error::usage(format!("no kernel is named `{name}`"), hint)
}
