//! Every kernel in every configuration its cases use, without a GPU: parsed, checked against its declaration
//! and the default WebGPU limits, and translated to SPIR-V, MSL and HLSL as drivers will get it.

#[cfg(windows)]
mod fxc;
mod inspect;
mod libraries;
mod source;

use fairy2i_gpu::backend::translate::{Pipeline, pipelines};
use fairy2i_gpu::ops::{
    Access, Binding, Features, Field, Op, Scalar, Shader, Visitor, for_each, read,
};
use inspect::{Declared, MOST_FUNCTION_LINES, MOST_LINES, MOST_WORKGROUP_BYTES, inspect, style};
use source::{read as read_sources, wings};
use std::collections::BTreeSet;

/// What kernels may use that are only taken where they fit.
const ABLE_WORKGROUP_BYTES: u32 = 32 << 10;
/// What kernels with cooperative matrices may use: devices that have these have so much.
const MATRIX_WORKGROUP_BYTES: u32 = 48 << 10;
/// Ops that only devices with some ability run; the model takes others elsewhere.
const BY_ABILITY: &[&str] = &[
    "attention_step",
    "attention_coop",
    "phase_gemm_bits",
    "phase_gemm_coop",
    "phase_gemv_fused",
    "phase_expand",
    "matmul_gemm_coop",
    "matmul_gemm_coop_tall",
    "matmul_train_coop",
    "flash_attention_coop",
    "flash_attention_backward_q_coop",
    "flash_attention_backward_kv_coop",
];

#[derive(Default)]
struct Inspection {
    stems: BTreeSet<&'static str>,
    entries: BTreeSet<&'static str>,
    pipelines: usize,
    plain: usize,
    failures: Vec<String>,
}

impl Inspection {
    fn note(&mut self, what: &str, result: Result<(), String>) {
        if let Err(error) = result {
            self.failures.push(format!("{what}: {error}"));
        }
    }
}

impl Visitor for Inspection {
    fn visit<O: Op>(&mut self) {
        let last = O::SHADERS.last().expect("an op has a kernel");
        if last.stem != O::NAME
            || !(last.features == Features::NONE || BY_ABILITY.contains(&O::NAME))
        {
            self.failures
                .push(format!("{}: the last kernel is not the plain one", O::NAME));
        }
        for shader in O::SHADERS {
            if !self.stems.insert(shader.stem) {
                self.failures.push(format!("{}: in two ops", shader.stem));
            }
            self.entries.insert(shader.entry);
        }
    }
}

/// The same pipeline without tricks for compilers.
fn plain(pipeline: &Pipeline) -> Pipeline {
    let read_only = |b: &Binding| match b.access {
        Access::Prefetched => read(b.name, b.elem),
        _ => *b,
    };
    let bindings: Vec<_> = pipeline.bindings.iter().map(read_only).collect();
    let shader = Shader {
        source: pipeline.shader.plain(pipeline.bindings).leak(),
        unchecked: false,
        ..*pipeline.shader
    };
    Pipeline {
        shader: Box::leak(Box::new(shader)),
        bindings: bindings.leak(),
        ..pipeline.clone()
    }
}

impl Inspection {
    fn pipeline(&mut self, pipeline: Pipeline) {
        let what = format!("{} {:?}", pipeline.shader.stem, pipeline.overrides);
        let workgroup_bytes = match pipeline.shader.features {
            Features { matrix: true, .. } => MATRIX_WORKGROUP_BYTES,
            Features { int64: true, .. } => ABLE_WORKGROUP_BYTES,
            _ => MOST_WORKGROUP_BYTES,
        };
        if pipeline.shader.plain(pipeline.bindings) != pipeline.shader.source {
            let declared = Declared {
                pipeline: plain(&pipeline),
                workgroup_bytes,
            };
            self.note(&format!("{what}, plain"), inspect(&declared));
            self.plain += 1;
        }
        let declared = Declared {
            pipeline,
            workgroup_bytes,
        };
        self.note(&what, inspect(&declared));
        self.pipelines += 1;
    }
}

#[test]
fn every_kernel_is_what_its_op_declares_and_translates_everywhere() {
    let mut inspection = Inspection::default();
    for_each(&mut inspection);
    for pipeline in pipelines(&|_| true) {
        inspection.pipeline(pipeline);
    }
    let files: Vec<_> = wings().iter().flat_map(|wing| read_sources(wing)).collect();
    for file in &files {
        let stem = file.stem.as_str();
        inspection.note(stem, style(&file.text));
        if !inspection.entries.contains(stem) {
            inspection
                .failures
                .push(format!("shaders/{stem}.wgsl belongs to no op"));
        }
    }
    for stem in &inspection.entries {
        assert!(
            files.iter().any(|f| f.stem == *stem),
            "shaders/{stem}.wgsl is missing"
        );
    }
    println!(
        "{} kernels, {} pipelines, {} without tricks",
        inspection.stems.len(),
        inspection.pipelines,
        inspection.plain
    );
    assert!(inspection.plain > 0, "no kernel has tricks");
    assert!(
        inspection.failures.is_empty(),
        "{}",
        inspection.failures.join("\n")
    );
}

/// Members of the parameters below.
const FIELDS: &[Field] = &[
    Field {
        name: "n",
        offset: 0,
        scalar: Scalar::U32,
    },
    Field {
        name: "a",
        offset: 4,
        scalar: Scalar::F32,
    },
];

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
    let pipeline = |source: &str| Pipeline {
        op: "twice",
        shader: Box::leak(Box::new(Shader {
            stem: "twice",
            entry: "twice",
            source: source.to_owned().leak(),
            features: Features::NONE,
            unchecked: false,
        })),
        prelude: "",
        bindings: &[READ, WRITE],
        params: 8,
        fields: FIELDS,
        overrides: vec![("WIDTH", 128.0)],
    };
    let mut declared = Declared {
        pipeline: pipeline(source),
        workgroup_bytes: MOST_WORKGROUP_BYTES,
    };
    assert_eq!(inspect(&declared), Ok(()));
    assert!(source.contains(from));
    declared.pipeline = pipeline(&source.replace(from, to));
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
    caught("a: f32 }", "b: f32 }", "");
    caught("n: u32, a: f32", "n: i32, a: f32", "");
    caught("n: u32, a: f32", "a: f32, n: u32", "members");
    caught(
        "array<f32, WIDTH>",
        "array<f32, 33 * WIDTH>",
        "workgroup memory",
    );
    caught("held[i] = x[i];", "held[i] = subgroupAdd(x[i]);", "");
    let error = broken("p.n", "p.n", |d| {
        d.pipeline.overrides = vec![("WIDTH", 512.0)]
    });
    assert!(error.contains("512 invocations"), "{error}");
    let error = broken("p.n", "p.n", |d| {
        d.pipeline.overrides = vec![("WITH", 64.0)]
    });
    assert!(error.contains("overrides"), "{error}");
}

#[test]
fn an_unreadable_kernel_is_caught() {
    let head = "// a\n";
    assert_eq!(style(&format!("{head}fn f() {{\n}}\n")), Ok(()));
    assert!(style("fn f() {\n}\n").is_err());
    assert!(style(&format!("{head}{}", "\n".repeat(MOST_LINES))).is_err());
    let long = "    x();\n".repeat(MOST_FUNCTION_LINES);
    assert!(style(&format!("{head}fn f() {{\n{long}}}\n")).is_err());
}
