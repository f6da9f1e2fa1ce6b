//! What is wrong with a kernel, without a GPU.

use fairy2i_gpu::ops::{Access, Binding};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ShaderStage, StorageAccess, TypeInner};

/// Default limits of WebGPU, which every device has.
const MOST_STORAGE_BUFFERS: usize = 8;
pub const MOST_WORKGROUP_BYTES: u32 = 16384;
const MOST_INVOCATIONS: u32 = 256;
/// Bytes of immediates that the backend has room for.
const MOST_PARAMS: usize = 128;
/// How kernels declare their parameters, and what the backend makes of it where the adapter has immediates.
const PARAMS: [&str; 2] = [
    "@group(0) @binding(0) var<uniform> p: Params;",
    "var<immediate> p: Params;",
];
/// Lines of a kernel file and of one of its functions: what a reader keeps in mind.
pub const MOST_LINES: usize = 150;
pub const MOST_FUNCTION_LINES: usize = 60;

/// What an op says about one of its kernels.
#[derive(Clone)]
pub struct Declared {
    pub entry: &'static str,
    pub source: String,
    pub capabilities: Capabilities,
    /// Memory of a workgroup it may use.
    pub workgroup_bytes: u32,
    pub bindings: &'static [Binding],
    pub params: usize,
    pub overrides: Vec<(&'static str, f64)>,
}

/// The first thing that is wrong with a kernel, with its parameters in a uniform block or as immediates.
pub fn inspect(declared: &Declared) -> Result<(), String> {
    let [uniform, immediate] = PARAMS;
    if declared.source.matches(uniform).count() != 1 {
        return Err(format!("does not declare its parameters with `{uniform}`"));
    }
    let capabilities = declared.capabilities;
    let module = parsed(&declared.source, capabilities)?;
    interface(declared, &module.0)?;
    finish(declared, &module)?;
    let source = declared.source.replace(uniform, immediate);
    let module = parsed(&source, capabilities | Capabilities::IMMEDIATES)?;
    finish(declared, &module).map_err(|e| format!("with immediates: {e}"))
}

fn parsed(source: &str, capabilities: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    Ok((module, info))
}

/// With its overrides applied, a kernel stays within limits and translates.
fn finish(declared: &Declared, (module, info): &(Module, ModuleInfo)) -> Result<(), String> {
    let constants: PipelineConstants = declared
        .overrides
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let entry = Some((ShaderStage::Compute, declared.entry));
    let (module, info) = process_overrides(module, info, entry, &constants)
        .map_err(|e| format!("overrides: {e}"))?;
    limits(&module, declared.workgroup_bytes)?;
    translate(declared, &module, &info)
}

/// Entry point, uniform block and storage buffers are those the op declares.
fn interface(declared: &Declared, module: &Module) -> Result<(), String> {
    let names: Vec<_> = module
        .entry_points
        .iter()
        .map(|e| e.name.as_str())
        .collect();
    if names != [declared.entry] {
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
                uniform(declared.params, &module.types[global.ty].inner, module)?;
            }
            AddressSpace::Storage { access } => found.push((at.binding, name, access)),
            space => return Err(format!("`{name}` at {}, in {space:?}", at.binding)),
        }
    }
    found.sort_unstable_by_key(|f| f.0);
    let expected: Vec<_> = (1..)
        .zip(declared.bindings)
        .map(|(at, b)| match b.access {
            Access::Read => (at, b.name, StorageAccess::LOAD),
            Access::Held | Access::Write => {
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

/// The uniform block is a struct of 4-byte scalars, as large as the op's `Params`.
fn uniform(params: usize, inner: &TypeInner, module: &Module) -> Result<(), String> {
    let TypeInner::Struct { members, span } = inner else {
        return Err("the uniform is no struct".to_owned());
    };
    for member in members {
        let scalar = &module.types[member.ty].inner;
        if !matches!(scalar, TypeInner::Scalar(Scalar { width: 4, .. })) {
            let name = member.name.as_deref().unwrap_or_default();
            return Err(format!("Params.{name} is no 4-byte scalar"));
        }
    }
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
fn translate(declared: &Declared, module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let entry = Some((ShaderStage::Compute, declared.entry.to_owned()));
    let options = spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: declared.entry.to_owned(),
    };
    let words = spv::write_vec(module, info, &options, Some(&pipeline))
        .map_err(|e| format!("SPIR-V: {e}"))?;
    if declared
        .capabilities
        .contains(Capabilities::COOPERATIVE_MATRIX)
    {
        // of 16 by 16 in Vulkan alone: Metal has 8 by 8, HLSL none
        return (!words.is_empty())
            .then_some(())
            .ok_or("an empty translation".to_owned());
    }
    let options = msl::Options {
        lang_version: (2, 4),
        ..Default::default()
    };
    let pipeline = msl::PipelineOptions {
        entry_point: entry.clone(),
        ..Default::default()
    };
    let (metal, _) =
        msl::write_string(module, info, &options, &pipeline).map_err(|e| format!("MSL: {e}"))?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: entry };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    if words.is_empty() || metal.is_empty() || text.is_empty() {
        return Err("an empty translation".to_owned());
    }
    Ok(())
}

/// What is promised about a kernel's text: it says what it does, and is short enough to be read.
pub fn style(text: &str) -> Result<(), String> {
    if text.lines().take(3).any(|l| !l.starts_with("// ")) {
        return Err("does not begin with formula, owner and shapes in three comment lines".into());
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
