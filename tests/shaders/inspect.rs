//! What is wrong with a kernel, without a GPU.

use fairy2i_gpu::backend::translate::{Configured, Params, Parsed, Pipeline};
use fairy2i_gpu::ops::{Access, Field, Scalar};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

/// Default limits of WebGPU, which every device has.
const MOST_STORAGE_BUFFERS: usize = 8;
pub const MOST_WORKGROUP_BYTES: u32 = 16384;
const MOST_INVOCATIONS: u32 = 256;
/// Bytes of immediates that the backend has room for.
const MOST_PARAMS: usize = 128;
/// How kernels declare their parameters.
const UNIFORM: &str = "@group(0) @binding(0) var<uniform> p: Params;";
/// Lines of a shader file and of one of its functions: what a reader keeps in mind.
pub const MOST_LINES: usize = 150;
pub const MOST_FUNCTION_LINES: usize = 60;

/// A kernel, and the memory of a workgroup that it may use.
#[derive(Clone)]
pub struct Declared {
    pub pipeline: Pipeline,
    pub workgroup_bytes: u32,
}

/// The first thing that is wrong with a kernel, with its parameters in a uniform block or as immediates.
pub fn inspect(declared: &Declared) -> Result<(), String> {
    let Declared {
        pipeline,
        workgroup_bytes,
    } = declared;
    let text = pipeline.wgsl(Params::Uniform);
    if text.matches(UNIFORM).count() != 1 {
        return Err(format!("does not declare its parameters with `{UNIFORM}`"));
    }
    let parsed = Parsed::new(&text, pipeline.shader.features, Params::Uniform)?;
    interface(pipeline, &parsed.module)?;
    let configured = parsed.configure(pipeline, Params::Uniform)?;
    limits(&configured.module, *workgroup_bytes)?;
    translate(pipeline, &configured)?;
    pipeline
        .configure(Params::Immediate)
        .and_then(|configured| translate(pipeline, &configured))
        .map_err(|e| format!("with immediates: {e}"))
}

/// Entry point, uniform block and storage buffers are those the op declares.
fn interface(pipeline: &Pipeline, module: &Module) -> Result<(), String> {
    let names: Vec<_> = module
        .entry_points
        .iter()
        .map(|e| e.name.as_str())
        .collect();
    if names != [pipeline.shader.entry] {
        return Err(format!("entry points {names:?}"));
    }
    let mut found = Vec::new();
    for (_, global) in module.global_variables.iter() {
        let Some(at) = global.binding else {
            continue;
        };
        let name = global.name.as_deref().unwrap_or_default();
        if at.group != 0 {
            return Err(format!("`{name}` is in group {}", at.group));
        }
        match global.space {
            AddressSpace::Uniform if at.binding == 0 => {
                uniform(pipeline, &module.types[global.ty].inner, module)?;
            }
            AddressSpace::Storage { access } => found.push((at.binding, name, access)),
            space => return Err(format!("`{name}` at {}, in {space:?}", at.binding)),
        }
    }
    found.sort_unstable_by_key(|f| f.0);
    let expected: Vec<_> = (1..)
        .zip(pipeline.bindings)
        .map(|(at, b)| match b.access {
            Access::Read => (at, b.name, StorageAccess::LOAD),
            Access::Prefetched | Access::Write => {
                (at, b.name, StorageAccess::LOAD | StorageAccess::STORE)
            }
        })
        .collect();
    if found != expected {
        return Err(format!("storage buffers {found:?}, declared {expected:?}"));
    }
    if found.len() > MOST_STORAGE_BUFFERS {
        return Err(format!("{} storage buffers", found.len()));
    }
    Ok(())
}

/// The uniform block is a struct with the members of the op's `Params`: their names, types and offsets, and no more bytes.
fn uniform(pipeline: &Pipeline, inner: &TypeInner, module: &Module) -> Result<(), String> {
    let TypeInner::Struct { members, span } = inner else {
        return Err("the uniform is no struct".to_owned());
    };
    let mut found = Vec::new();
    for member in members {
        let name = member.name.as_deref().unwrap_or_default();
        let scalar = match module.types[member.ty].inner {
            TypeInner::Scalar(naga::Scalar { kind, width: 4 }) => match kind {
                ScalarKind::Uint => Some(Scalar::U32),
                ScalarKind::Sint => Some(Scalar::I32),
                ScalarKind::Float => Some(Scalar::F32),
                _ => None,
            },
            _ => None,
        };
        let scalar = scalar.ok_or_else(|| format!("Params.{name} is no 4-byte scalar"))?;
        found.push((name, member.offset as usize, scalar));
    }
    let declared = pipeline.fields.iter();
    let declared: Vec<_> = declared
        .map(
            |&Field {
                 name,
                 offset,
                 scalar,
             }| (name, offset, scalar),
        )
        .collect();
    if found != declared {
        return Err(format!(
            "Params has the members {found:?} in the kernel, {declared:?} in Rust"
        ));
    }
    let params = pipeline.params;
    if *span as usize != params || params > MOST_PARAMS {
        return Err(format!(
            "Params: {span} bytes in the kernel, {params} in Rust"
        ));
    }
    Ok(())
}

/// Workgroup memory and invocations, with the overrides applied.
fn limits(module: &Module, most: u32) -> Result<(), String> {
    let bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, g)| g.space == AddressSpace::WorkGroup)
        .map(|(_, g)| {
            module.types[g.ty]
                .inner
                .size(module.to_ctx())
                .next_multiple_of(16)
        })
        .sum();
    let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
    // cooperative matrices come with larger workgroups
    if bytes > most || invocations > MOST_INVOCATIONS.max(most / 96) {
        return Err(format!(
            "{bytes} bytes of workgroup memory, {invocations} invocations"
        ));
    }
    Ok(())
}

/// What wgpu does for Vulkan, Metal and DX12.
fn translate(pipeline: &Pipeline, configured: &Configured) -> Result<(), String> {
    let mut empty = configured.spirv()?.is_empty();
    // cooperative matrices of 16 by 16 are in Vulkan alone
    if !pipeline.shader.features.matrix {
        empty |= configured.msl()?.is_empty() || configured.hlsl()?.0.is_empty();
    }
    match empty {
        true => Err("an empty translation".to_owned()),
        false => Ok(()),
    }
}

/// What is promised about a file's text: it says what it is, and is short enough to be read.
pub fn style(text: &str) -> Result<(), String> {
    if !text.starts_with("// ") {
        return Err("does not begin with a comment that says what it is".into());
    }
    if text.lines().count() > MOST_LINES {
        return Err(format!("{} lines", text.lines().count()));
    }
    let mut function = None;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("fn ") {
            function = Some((number, line));
        }
        if let Some((start, head)) = function.filter(|_| line == "}") {
            if number - start >= MOST_FUNCTION_LINES {
                return Err(format!("{} lines: {head}", number - start + 1));
            }
            function = None;
        }
    }
    Ok(())
}
