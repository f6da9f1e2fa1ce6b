//! What fails on a device is the error of the call that asked for it, and of no other: the device stays usable.

mod common;

use common::{Setup, one_at_a_time, setups};
use fairy2i_gpu::backend::{Backend, Gpu, block_on, upload_new};
use fairy2i_gpu::ops::memory::{Copy, CopyParams};
use fairy2i_gpu::ops::{
    Agree, Binding, Bindings, Case, Cost, Elem, Features, Grid, Op, Shader, read, write,
};
use fairy2i_gpu::{Error, Result};

/// A kernel that is broken in one way; the others are as they should be.
macro_rules! kernel {
    ($stem:literal, $source:literal) => {
        Shader {
            stem: $stem,
            entry: "broken",
            source: concat!(
                "struct Params { quads: u32 } @group(0) @binding(0) var<uniform> p: Params;\n",
                "@group(0) @binding(1) var<storage, read> x: array<u32>;\n",
                "@group(0) @binding(2) var<storage, read_write> y: array<u32>;\n",
                $source
            ),
            features: Features::NONE,
            unchecked: false,
        }
    };
}

const KERNELS: [Shader; 5] = [
    kernel!("no_wgsl", "this is no WGSL"),
    kernel!(
        "no_such_entry",
        "@compute @workgroup_size(1) fn other() { y[0] = x[0] + p.quads; }"
    ),
    kernel!(
        "wrong_type",
        "@compute @workgroup_size(1) fn broken() { y[0] = f32(x[0] + p.quads); }"
    ),
    kernel!(
        "too_wide",
        "@compute @workgroup_size(65536) fn broken() { y[0] = x[0] + p.quads; }"
    ),
    kernel!(
        "not_bound",
        "@group(0) @binding(9) var<storage, read> z: array<u32>;
        @compute @workgroup_size(1) fn broken() { y[0] = x[0] + z[0] + p.quads; }"
    ),
];

/// [`Copy`] with the broken kernel `KIND`.
#[derive(Clone)]
struct Broken<const KIND: usize>(Copy);

impl<const KIND: usize> Op for Broken<KIND> {
    const NAME: &'static str = KERNELS[KIND].stem;
    const SHADERS: &'static [Shader] = &[KERNELS[KIND]];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = CopyParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> CopyParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b);
    }

    fn cases() -> Vec<Case<Self>> {
        Vec::new()
    }
}

const OP: Copy = Copy { quads: 500 };

fn words() -> Vec<u32> {
    (0..2000).collect()
}

/// Copies with a kernel that is right.
fn good(gpu: &Gpu) -> Result<()> {
    let x = upload_new(gpu, "x", &words())?;
    let y = gpu.alloc("y", words().len())?;
    block_on(gpu, async {
        gpu.run(&OP, &[&x, &y]).await?;
        assert_eq!(gpu.download(&y, 0, words().len()).await?, words());
        Ok(())
    })
}

/// Runs a kernel that is broken: one line that names it, with the code of the device.
fn fails<const KIND: usize>(gpu: &Gpu) {
    let told = |error: Error| {
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3, "{text}");
        assert!(text.contains(KERNELS[KIND].stem), "{text}");
        assert!(!text.contains('\n'), "{text}");
    };
    let run = |gpu: &Gpu| -> Result<()> {
        let x = upload_new(gpu, "x", &words())?;
        let y = gpu.alloc("y", words().len())?;
        block_on(gpu, gpu.run(&Broken::<KIND>(OP), &[&x, &y]))
    };
    told(run(gpu).expect_err(KERNELS[KIND].stem));
    good(gpu).expect("a good kernel after a broken one");
    told(run(gpu).expect_err("the same kernel again"));
    // where pipelines are collected, compiling them is what fails, and the others that were asked for are there
    gpu.collect_pipelines().expect("collecting begins");
    run(gpu).expect("only noted");
    good_collected(gpu);
    let compile = || block_on(gpu, gpu.compile_pipelines());
    told(compile().expect_err("compiling them"));
    good(gpu).expect("a good kernel after the others");
    gpu.collect_pipelines().expect("collecting begins again");
    compile().expect("nothing is left of the pipelines before");
}

fn good_collected(gpu: &Gpu) {
    let x = upload_new(gpu, "x", &words()).expect("a buffer");
    let y = gpu.alloc("y", words().len()).expect("a buffer");
    block_on(gpu, gpu.run(&OP, &[&x, &y])).expect("only noted");
}

#[test]
fn a_kernel_that_does_not_compile_fails_alone() {
    let _alone = one_at_a_time();
    for Setup { name, gpu } in setups() {
        println!("{name}");
        fails::<0>(&gpu);
        fails::<1>(&gpu);
        fails::<2>(&gpu);
        fails::<3>(&gpu);
        fails::<4>(&gpu);
    }
}

/// Bytes of address space that the process below may have.
#[cfg(target_os = "linux")]
const NARROW_KIB: u64 = 6 << 20;

/// A process of its own, whose address space is limited, takes memory on a software adapter until there is no more.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_not_there_is_the_error_of_that_allocation() {
    if std::env::var_os("FAIRY2I_TEST_NARROW").is_some() {
        return take_all_memory();
    }
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -v {NARROW_KIB} && exec \"$0\" --exact \"$1\" --nocapture"
        ))
        .arg(program)
        .arg("memory_that_is_not_there_is_the_error_of_that_allocation")
        .env("FAIRY2I_TEST_NARROW", "1")
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("buffers, then:") || text.contains("SKIPPED"),
        "{text}"
    );
    println!("{text}");
}

#[cfg(target_os = "linux")]
fn take_all_memory() {
    let all = pollster::block_on(fairy2i_gpu::backend::adapters());
    let Some(index) = all.iter().position(|a| a.software) else {
        eprintln!("\n*** NO SOFTWARE ADAPTER: this test was SKIPPED ***\n");
        return;
    };
    let gpu = pollster::block_on(Gpu::open(index, Default::default())).expect("opens");
    good(&gpu).expect("kernels are compiled while there is memory");
    let bytes = all[index].max_binding.min(128 << 20);
    let mut held = Vec::new();
    for _ in 0..2 {
        let error = loop {
            match gpu.alloc("a large buffer", bytes as usize / 4) {
                Ok(buffer) => held.push(buffer),
                Err(error) => break error,
            }
            assert!(
                held.len() as u64 * bytes <= NARROW_KIB << 10,
                "more than there is"
            );
        };
        assert_eq!(error.exit_code(), 3, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("a large buffer") && text.contains("out of device memory"),
            "{text}"
        );
        println!("{} buffers, then: {text}", held.len());
        held.truncate(held.len() / 2);
        good(&gpu).expect("the device is usable");
    }
}
