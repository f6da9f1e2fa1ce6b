//! What a device gets for a kernel: the translations that wgpu makes, written without a device.
//!
//! [`pipelines`] lists what there is to translate: every kernel with every set of override values that its op uses.
//! [`Parsed`] is the text of one of them, [`Configured`] the same with its overrides applied, which naga writes as
//! SPIR-V (Vulkan), MSL (Metal) or HLSL (Direct3D 12). The options are those of wgpu 30; browsers get the WGSL itself.

use super::gpu::params;
use crate::ops::{Access, Binding, Features, Field, Fields, Op, Shader, Visitor, for_each};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ResourceBinding, ShaderStage};

/// Invocations of a workgroup that every device allows.
const PLAIN_WIDTH: f64 = 256.0;

/// A kernel and one set of values for its overrides.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// [`Op::NAME`] of the op that runs it.
    pub op: &'static str,
    /// The kernel.
    pub shader: &'static Shader,
    /// What the op adds to the kernel's text.
    pub prelude: &'static str,
    /// Its storage buffers, from `@binding(1)` on.
    pub bindings: &'static [Binding],
    /// Bytes of its parameters.
    pub params: usize,
    /// Members of its parameters, as Rust has them.
    pub fields: &'static [Field],
    /// Values of its overrides, on a device that allows 256 invocations in a workgroup.
    pub overrides: Vec<(&'static str, f64)>,
}

/// How parameters reach a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Params {
    /// In a uniform buffer: on every device, and in browsers.
    Uniform,
    /// With the commands, where the device has immediates: Vulkan, Metal and Direct3D 12.
    Immediate,
}

/// Collects the pipelines of the kernels whose stems are wanted.
struct Collect<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    found: Vec<Pipeline>,
}

impl Visitor for Collect<'_> {
    fn visit<O: Op>(&mut self) {
        let shaders: Vec<_> = O::SHADERS
            .iter()
            .filter(|s| (self.wanted)(s.stem))
            .collect();
        if shaders.is_empty() {
            return; // making the cases takes time
        }
        let cases = O::cases();
        for shader in shaders {
            let first = self.found.len();
            for case in &cases {
                let mut overrides = case.op.overrides();
                for (_, width) in overrides.iter_mut().filter(|o| o.0 == "WIDTH") {
                    *width = width.min(PLAIN_WIDTH);
                }
                let prelude = case.op.prelude();
                let known = |p: &Pipeline| p.overrides == overrides && p.prelude == prelude;
                if self.found[first..].iter().any(known) {
                    continue;
                }
                self.found.push(Pipeline {
                    op: O::NAME,
                    shader,
                    prelude,
                    bindings: O::BINDINGS,
                    params: size_of::<O::Params>(),
                    fields: O::Params::FIELDS,
                    overrides,
                });
            }
        }
    }
}

/// The pipelines of all kernels whose stem is `wanted`, in the order of the list of ops, each once.
pub fn pipelines(wanted: &dyn Fn(&str) -> bool) -> Vec<Pipeline> {
    let mut collect = Collect {
        wanted,
        found: Vec::new(),
    };
    for_each(&mut collect);
    collect.found
}

impl Pipeline {
    /// The WGSL that wgpu is given: the kernel and what its op adds.
    pub fn wgsl(&self, params: Params) -> String {
        let text = format!("{}\n{}", self.shader.source, self.prelude);
        params::declare(text, params == Params::Immediate)
    }

    /// Parses and validates it, and applies its overrides.
    pub fn configure(&self, params: Params) -> Result<Configured, String> {
        let text = self.wgsl(params);
        let parsed = Parsed::new(&text, self.shader.features, params)?;
        parsed.configure(self, params)
    }

    /// Restrictions of indices to their bounds.
    fn checks(&self) -> BoundsCheckPolicies {
        let policy = match self.shader.unchecked {
            true => BoundsCheckPolicy::Unchecked,
            false => BoundsCheckPolicy::Restrict,
        };
        BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            ..Default::default()
        }
    }
}

/// A valid kernel.
pub struct Parsed {
    /// The kernel.
    pub module: Module,
    /// What its validation found out.
    pub info: ModuleInfo,
}

/// What naga's validation must allow kernels that need so much.
fn capabilities(features: Features, params: Params) -> Capabilities {
    // unpack2x16float belongs to every WebGPU
    let mut allowed = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    allowed.set(Capabilities::IMMEDIATES, params == Params::Immediate);
    allowed.set(Capabilities::SUBGROUP, features.subgroup);
    allowed.set(Capabilities::SHADER_FLOAT16, features.f16);
    allowed.set(Capabilities::SHADER_INT64, features.int64);
    allowed.set(Capabilities::SHADER_INT16, features.int16);
    let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP_BARRIER;
    allowed.set(matrices, features.matrix);
    allowed
}

impl Parsed {
    /// Parses and validates WGSL that may use what a device with `features` has.
    pub fn new(text: &str, features: Features, params: Params) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let info = Validator::new(ValidationFlags::all(), capabilities(features, params))
            .validate(&module)
            .map_err(|e| e.emit_to_string(text))?;
        Ok(Self { module, info })
    }

    /// Applies the overrides of `pipeline`.
    pub fn configure(&self, pipeline: &Pipeline, params: Params) -> Result<Configured, String> {
        let values = pipeline.overrides.iter();
        let constants: PipelineConstants = values.map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let entry = Some((ShaderStage::Compute, pipeline.shader.entry));
        let (module, info) = process_overrides(&self.module, &self.info, entry, &constants)
            .map_err(|e| format!("overrides: {e}"))?;
        Ok(Configured {
            module: module.into_owned(),
            info: info.into_owned(),
            pipeline: pipeline.clone(),
            params,
        })
    }
}

/// A kernel with its overrides applied: what is translated.
pub struct Configured {
    /// The kernel.
    pub module: Module,
    /// What its validation found out.
    pub info: ModuleInfo,
    pipeline: Pipeline,
    params: Params,
}

/// A binding of the one group there is.
fn at(binding: usize) -> ResourceBinding {
    ResourceBinding {
        group: 0,
        binding: binding as u32,
    }
}

impl Configured {
    fn entry(&self) -> String {
        self.pipeline.shader.entry.to_owned()
    }

    /// What Vulkan gets: words of SPIR-V 1.3.
    pub fn spirv(&self) -> Result<Vec<u32>, String> {
        let first = usize::from(self.params == Params::Immediate);
        let slot = |binding: usize| spv::BindingInfo {
            descriptor_set: 0,
            binding: (binding - first) as u32,
            binding_array_size: None,
        };
        let options = spv::Options {
            lang_version: (1, 3),
            flags: spv::WriterFlags::LABEL_VARYINGS,
            binding_map: (first..=self.pipeline.bindings.len())
                .map(|binding| (at(binding), slot(binding)))
                .collect(),
            bounds_check_policies: self.pipeline.checks(),
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: !self.pipeline.shader.unchecked,
            ..Default::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.entry(),
        };
        spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|e| format!("SPIR-V: {e}"))
    }

    /// An error for `language` if it cannot say what this kernel does.
    fn expressible(&self, language: &str) -> Result<(), String> {
        match self.pipeline.shader.features.matrix {
            true => Err(format!(
                "{language} has no cooperative matrices of 16 by 16"
            )),
            false => Ok(()),
        }
    }

    /// What Metal gets: MSL 2.4.
    pub fn msl(&self) -> Result<String, String> {
        self.expressible("MSL")?;
        let immediate = self.params == Params::Immediate;
        let slot = |binding: usize, mutable| msl::BindTarget {
            buffer: Some(binding as msl::Slot),
            mutable,
            ..Default::default()
        };
        let storage = (1..).zip(self.pipeline.bindings);
        let storage = storage.map(|(i, b)| (at(i), slot(i, b.access != Access::Read)));
        let uniform = (!immediate).then(|| (at(0), slot(0, false)));
        let resources = msl::EntryPointResources {
            resources: uniform.into_iter().chain(storage).collect(),
            immediates_buffer: immediate.then_some(0),
            sizes_buffer: Some(self.pipeline.bindings.len() as msl::Slot + 1),
        };
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [(self.entry(), resources)].into(),
            fake_missing_bindings: false,
            spirv_cross_compatibility: false,
            bounds_check_policies: self.pipeline.checks(),
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            emit_int_div_checks: !self.pipeline.shader.unchecked,
            ..Default::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, self.entry())),
            ..Default::default()
        };
        let (text, info) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|e| format!("MSL: {e}"))?;
        let names = info.entry_point_names.into_iter();
        names
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format!("MSL: {e}"))?;
        Ok(text)
    }

    /// What Direct3D 12 gets, and the name of the entry point there: shader model 5.1 where the kernel is plain, which
    /// Microsoft's old compiler (FXC) takes, else 6.2.
    pub fn hlsl(&self) -> Result<(String, String), String> {
        self.expressible("HLSL")?;
        let mut constants = hlsl::BindTarget::default();
        let immediates = constants;
        let mut bindings = hlsl::BindingMap::default();
        if self.params == Params::Immediate {
            (constants.register, constants.space) = (1, 1);
        } else {
            bindings.insert(at(0), restricted(constants));
            constants.register = 1;
        }
        let (mut reads, mut writes) = (hlsl::BindTarget::default(), hlsl::BindTarget::default());
        for (i, binding) in (1..).zip(self.pipeline.bindings) {
            let target = match binding.access {
                Access::Read => &mut reads,
                Access::Prefetched | Access::Write => &mut writes,
            };
            bindings.insert(at(i), restricted(*target));
            target.register += 1;
        }
        let options = hlsl::Options {
            shader_model: match self.pipeline.shader.features {
                Features::NONE => hlsl::ShaderModel::V5_1,
                _ => hlsl::ShaderModel::V6_2,
            },
            binding_map: bindings,
            fake_missing_bindings: false,
            special_constants_binding: Some(constants),
            immediates_target: (self.params == Params::Immediate).then_some(immediates),
            zero_initialize_workgroup_memory: false,
            restrict_indexing: !self.pipeline.shader.unchecked,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, self.entry())),
        };
        let mut text = String::new();
        let mut info = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|e| format!("HLSL: {e}"))?;
        let name = info.entry_point_names.pop().ok_or("HLSL: no entry point")?;
        Ok((text, name.map_err(|e| format!("HLSL: {e}"))?))
    }
}

/// The same place, with indices kept within its bounds.
fn restricted(target: hlsl::BindTarget) -> hlsl::BindTarget {
    hlsl::BindTarget {
        restrict_indexing: true,
        ..target
    }
}
