//! Every kernel in every configuration its cases use, without a GPU: parsed, checked against its declaration
//! and the default WebGPU limits, and translated to SPIR-V, MSL and HLSL as drivers will get it.

#[cfg(windows)]
mod fxc;
mod inspect;

use fairy2i_gpu::backend::translate::{Pipeline, pipelines};
use fairy2i_gpu::ops::{Binding, Features, Op, Shader, Visitor, for_each};
use inspect::{Declared, MOST_FUNCTION_LINES, MOST_LINES, MOST_WORKGROUP_BYTES, inspect, style};
use std::collections::BTreeSet;
use std::path::Path;

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
];

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

impl Visitor for Inspection {
    fn visit<O: Op>(&mut self) {
        let last = O::SHADERS.last().expect("an op has a kernel");
        if last.stem != O::NAME || !(last.needs == Features::NONE || BY_ABILITY.contains(&O::NAME))
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

impl Inspection {
    fn pipeline(&mut self, pipeline: Pipeline) {
        let what = format!("{} {:?}", pipeline.shader.stem, pipeline.overrides);
        let workgroup_bytes = match pipeline.shader.needs {
            Features { matrix: true, .. } => MATRIX_WORKGROUP_BYTES,
            Features { int64: true, .. } => ABLE_WORKGROUP_BYTES,
            _ => MOST_WORKGROUP_BYTES,
        };
        let declared = Declared {
            pipeline,
            workgroup_bytes,
        };
        self.note(&what, inspect(&declared));
        self.pipelines += 1;
    }
}

fn kernel_files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let entries = |folder: &Path| std::fs::read_dir(folder).expect("a folder of shaders");
    let wings = entries(&folder).map(|e| e.expect("an entry").path());
    wings
        .filter(|wing| wing.is_dir() && !wing.ends_with("lib"))
        .flat_map(|wing| entries(&wing))
        .map(|e| e.expect("an entry").path())
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
    for pipeline in pipelines(&|_| true) {
        inspection.pipeline(pipeline);
    }
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
    let pipeline = |source: &str| Pipeline {
        op: "twice",
        shader: Box::leak(Box::new(Shader {
            stem: "twice",
            entry: "twice",
            source: source.to_owned().leak(),
            needs: Features::NONE,
            unchecked: false,
        })),
        prelude: "",
        bindings: &[READ, WRITE],
        params: 8,
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
    let head = "// a\n// b\n// c\n";
    assert_eq!(style(&format!("{head}fn f() {{\n}}\n")), Ok(()));
    assert!(style("// a\n// b\nfn f() {\n}\n").is_err());
    assert!(style(&format!("{head}{}", "\n".repeat(MOST_LINES))).is_err());
    let long = "    x();\n".repeat(MOST_FUNCTION_LINES);
    assert!(style(&format!("{head}fn f() {{\n{long}}}\n")).is_err());
}
