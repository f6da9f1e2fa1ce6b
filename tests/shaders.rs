//! Every kernel in every configuration its cases use, without a GPU: parsed, checked against its declaration
//! and the default WebGPU limits, and translated to SPIR-V, MSL and HLSL as drivers will get it.

use fairy2i_gpu::ops::{Access, Binding, Needs, Op, Visitor, for_each};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ShaderStage, StorageAccess, TypeInner};
use std::collections::BTreeSet;
use std::path::Path;

/// Default limits of WebGPU, which every device has.
const MOST_STORAGE_BUFFERS: usize = 8;
const MOST_WORKGROUP_BYTES: u32 = 16384;
const MOST_INVOCATIONS: u32 = 256;
/// What kernels may use that are only taken where they fit.
const ABLE_WORKGROUP_BYTES: u32 = 32 << 10;
/// What kernels with cooperative matrices may use: devices that have these have so much.
const MATRIX_WORKGROUP_BYTES: u32 = 48 << 10;
/// Bytes of the uniform slot of a dispatch.
const MOST_PARAMS: usize = 256;
/// Ops that only devices with some ability run; the model takes others elsewhere.
const BY_ABILITY: &[&str] = &[
    "attention_step",
    "attention_coop",
    "phase_gemm_bits",
    "phase_gemm_coop",
    "phase_gemv_round",
    "phase_expand",
    "matmul_gemm_coop",
    "matmul_gemm_coop_tall",
    "matmul_train_coop",
];
/// Lines of a kernel file and of one of its functions: what a reader keeps in mind.
const MOST_LINES: usize = 150;
const MOST_FUNCTION_LINES: usize = 60;

/// What an op says about one of its kernels.
#[derive(Clone)]
struct Declared {
    entry: &'static str,
    source: String,
    capabilities: Capabilities,
    /// Memory of a workgroup it may use.
    workgroup_bytes: u32,
    bindings: &'static [Binding],
    params: usize,
    overrides: Vec<(&'static str, f64)>,
}

/// The first thing that is wrong with a kernel.
fn inspect(declared: &Declared) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(&declared.source)
        .map_err(|e| e.emit_to_string(&declared.source))?;
    let info = Validator::new(ValidationFlags::all(), declared.capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(&declared.source))?;
    interface(declared, &module)?;
    let constants: PipelineConstants = declared
        .overrides
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let entry = Some((ShaderStage::Compute, declared.entry));
    let (module, info) = process_overrides(&module, &info, entry, &constants)
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
fn style(text: &str) -> Result<(), String> {
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

#[derive(Default)]
struct Inspection {
    stems: BTreeSet<&'static str>,
    entries: BTreeSet<&'static str>,
    pipelines: usize,
    failures: Vec<String>,
}

impl Inspection {
    fn note(&mut self, what: &str, result: Result<(), String>) {
        if let Err(error) = result {
            self.failures.push(format!("{what}: {error}"));
        }
    }
}

/// Overrides and prelude of a pipeline.
type Configuration = (Vec<(&'static str, f64)>, &'static str);

/// Every different configuration that the cases of `O` use.
fn configurations<O: Op>() -> Vec<Configuration> {
    let mut all = Vec::new();
    for case in O::cases() {
        let configuration = (case.op.overrides(), case.op.prelude());
        if !all.contains(&configuration) {
            all.push(configuration);
        }
    }
    all
}

impl Visitor for Inspection {
    fn visit<O: Op>(&mut self) {
        let last = O::SHADERS.last().expect("an op has a kernel");
        if last.stem != O::NAME || !(last.needs == Needs::NONE || BY_ABILITY.contains(&O::NAME)) {
            self.failures
                .push(format!("{}: the last kernel is not the plain one", O::NAME));
        }
        let configurations = configurations::<O>();
        for shader in O::SHADERS {
            if !self.stems.insert(shader.stem) {
                self.failures.push(format!("{}: in two ops", shader.stem));
            }
            // unpack2x16float belongs to every WebGPU
            let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            capabilities.set(Capabilities::SUBGROUP, shader.needs.subgroup);
            capabilities.set(Capabilities::SHADER_FLOAT16, shader.needs.f16);
            capabilities.set(Capabilities::SHADER_INT64, shader.needs.int64);
            capabilities.set(Capabilities::SHADER_INT16, shader.needs.int16);
            capabilities.set(Capabilities::COOPERATIVE_MATRIX, shader.needs.matrix);
            self.entries.insert(shader.entry);
            for (overrides, prelude) in &configurations {
                let mut overrides = overrides.clone();
                // as the backend does on devices that allow no more
                let widths = overrides.iter_mut().filter(|o| o.0 == "WIDTH");
                widths.for_each(|width| width.1 = width.1.min(256.0));
                let declared = Declared {
                    entry: shader.entry,
                    source: format!("{}\n{prelude}", shader.source),
                    capabilities,
                    workgroup_bytes: match shader.needs {
                        Needs { matrix: true, .. } => MATRIX_WORKGROUP_BYTES,
                        Needs { int64: true, .. } => ABLE_WORKGROUP_BYTES,
                        _ => MOST_WORKGROUP_BYTES,
                    },
                    bindings: O::BINDINGS,
                    params: size_of::<O::Params>(),
                    overrides: overrides.clone(),
                };
                self.note(
                    &format!("{} {overrides:?}", shader.stem),
                    inspect(&declared),
                );
                self.pipelines += 1;
            }
        }
    }
}

fn kernel_files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let entries = std::fs::read_dir(folder).expect("shaders/ is there");
    let paths = entries.map(|e| e.expect("an entry").path());
    paths
        .filter(|p| p.extension().is_some_and(|e| e == "wgsl"))
        .map(|p| {
            let stem = p
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (stem, std::fs::read_to_string(&p).expect("readable"))
        })
        .collect()
}

#[test]
fn every_kernel_is_what_its_op_declares_and_translates_everywhere() {
    let mut inspection = Inspection::default();
    for_each(&mut inspection);
    let files = kernel_files();
    for (stem, text) in &files {
        inspection.note(stem, style(text));
        if !inspection.entries.contains(stem.as_str()) {
            inspection
                .failures
                .push(format!("shaders/{stem}.wgsl belongs to no op"));
        }
    }
    for stem in &inspection.entries {
        assert!(
            files.iter().any(|f| f.0 == *stem),
            "shaders/{stem}.wgsl is missing"
        );
    }
    println!(
        "{} kernels, {} pipelines",
        inspection.stems.len(),
        inspection.pipelines
    );
    assert!(
        inspection.failures.is_empty(),
        "{}",
        inspection.failures.join("\n")
    );
}

/// A kernel that is right, and what the inspection says once `from` in it is `to`.
fn broken(from: &str, to: &str, change: impl Fn(&mut Declared)) -> String {
    const READ: Binding = fairy2i_gpu::ops::read("x", fairy2i_gpu::ops::Elem::F32);
    const WRITE: Binding = fairy2i_gpu::ops::write("y", fairy2i_gpu::ops::Elem::F32);
    let source = "struct Params { n: u32, a: f32 }
        @group(0) @binding(0) var<uniform> p: Params;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        override WIDTH: u32 = 64u;
        var<workgroup> held: array<f32, WIDTH>;
        @compute @workgroup_size(WIDTH) fn twice(@builtin(local_invocation_index) i: u32) {
            held[i] = x[i];
            workgroupBarrier();
            if i < p.n { y[i] = p.a * held[i]; }
        }";
    let mut declared = Declared {
        entry: "twice",
        source: source.to_owned(),
        capabilities: Capabilities::empty(),
        workgroup_bytes: MOST_WORKGROUP_BYTES,
        bindings: &[READ, WRITE],
        params: 8,
        overrides: vec![("WIDTH", 128.0)],
    };
    assert_eq!(inspect(&declared), Ok(()));
    assert!(source.contains(from));
    declared.source = source.replace(from, to);
    change(&mut declared);
    inspect(&declared).expect_err("a broken kernel passed")
}

#[test]
fn a_broken_kernel_is_caught() {
    let caught = |from, to, with: &str| {
        let error = broken(from, to, |_| {});
        assert!(error.contains(with), "{from} -> {to}: {error}");
    };
    caught("p.n {", "p.n", "expected");
    caught("p.a * held", "p.n * held", "");
    caught("fn twice", "fn thrice", "entry points");
    caught("storage, read_write", "storage, read", "");
    caught("storage, read>", "storage, read_write>", "storage buffers");
    caught("@binding(2)", "@binding(3)", "storage buffers");
    caught(" x: array<f32>;", " z: array<f32>; alias unused = f32;", "");
    caught("a: f32 }", "a: f32, b: f32 }", "Params");
    caught("a: f32 }", "a: vec2<f32> }", "");
    caught(
        "array<f32, WIDTH>",
        "array<f32, 33 * WIDTH>",
        "workgroup memory",
    );
    caught("held[i] = x[i];", "held[i] = subgroupAdd(x[i]);", "");
    let error = broken("p.n", "p.n", |d| d.overrides = vec![("WIDTH", 512.0)]);
    assert!(error.contains("512 invocations"), "{error}");
    let error = broken("p.n", "p.n", |d| d.overrides = vec![("WITH", 64.0)]);
    assert!(error.contains("overrides"), "{error}");
}

#[test]
fn an_unreadable_kernel_is_caught() {
    let head = "// a\n// b\n// c\n";
    assert_eq!(style(&format!("{head}fn f() {{\n}}\n")), Ok(()));
    assert!(style("// a\n// b\nfn f() {\n}\n").is_err());
    assert!(style(&format!("{head}{}", "\n".repeat(MOST_LINES))).is_err());
    let long = "    x();\n".repeat(MOST_FUNCTION_LINES);
    assert!(style(&format!("{head}fn f() {{\n{long}}}\n")).is_err());
}
