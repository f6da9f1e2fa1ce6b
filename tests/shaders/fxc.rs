//! Microsoft's old shader compiler (FXC, d3dcompiler_47.dll), which every Windows has and wgpu takes unless the newer one is
//! installed: every pipeline of every plain kernel, as wgpu hands it over, with its parameters in either way.

use fairy2i_gpu::backend::translate::{Params, pipelines};
use fairy2i_gpu::ops::Features;
use std::ffi::{CString, c_char, c_void};
use std::ptr::null_mut;

/// A COM object with bytes (`ID3DBlob`), of which only the order of its functions counts.
#[repr(C)]
struct Blob {
    functions: *const Functions,
}

#[repr(C)]
struct Functions {
    query_interface: usize,
    add_ref: usize,
    release: unsafe extern "system" fn(*mut Blob) -> u32,
    pointer: unsafe extern "system" fn(*mut Blob) -> *const u8,
    size: unsafe extern "system" fn(*mut Blob) -> usize,
}

#[link(name = "d3dcompiler_47", kind = "raw-dylib")]
unsafe extern "system" {
    fn D3DCompile(
        text: *const c_void,
        bytes: usize,
        name: *const c_char,
        defines: *const c_void,
        include: *const c_void,
        entry: *const c_char,
        target: *const c_char,
        flags: u32,
        effects: u32,
        code: *mut *mut Blob,
        errors: *mut *mut Blob,
    ) -> i32;
}

/// D3DCOMPILE_ENABLE_STRICTNESS: what wgpu asks for in release builds.
const STRICT: u32 = 1 << 11;

/// The bytes of a blob, which is freed.
fn take(blob: *mut Blob) -> Vec<u8> {
    if blob.is_null() {
        return Vec::new();
    }
    // SAFETY: the compiler made the blob and gave it away; it is used by its own functions and released once.
    unsafe {
        let functions = &*(*blob).functions;
        let (pointer, size) = ((functions.pointer)(blob), (functions.size)(blob));
        let bytes = std::slice::from_raw_parts(pointer, size).to_vec();
        (functions.release)(blob);
        bytes
    }
}

/// What FXC makes of `text`, or its complaints.
fn compile(text: &str, entry: &str) -> Result<Vec<u8>, String> {
    let entry = CString::new(entry).expect("a name without zeros");
    let (mut code, mut errors) = (null_mut(), null_mut());
    // SAFETY: text and names outlive the call, which writes two pointers to blobs or leaves them null.
    let result = unsafe {
        D3DCompile(
            text.as_ptr().cast(),
            text.len(),
            null_mut(),
            null_mut(),
            null_mut(),
            entry.as_ptr(),
            c"cs_5_1".as_ptr(),
            STRICT,
            0,
            &mut code,
            &mut errors,
        )
    };
    let (code, errors) = (take(code), take(errors));
    if result >= 0 && !code.is_empty() {
        return Ok(code);
    }
    let text = String::from_utf8_lossy(&errors).into_owned();
    let complaints = text.lines().filter(|line| line.contains("error")).take(3);
    Err(format!(
        "{result:#x} {}",
        complaints.collect::<Vec<_>>().join(" | ")
    ))
}

#[test]
fn every_plain_pipeline_compiles_with_fxc() {
    let wanted = std::env::var("FAIRY2I_OP").unwrap_or_default();
    let (mut compiled, mut failures) = (0, Vec::new());
    for pipeline in pipelines(&|stem| stem.contains(&wanted)) {
        if pipeline.shader.features != Features::NONE {
            continue; // FXC has no subgroups, 16-bit types or 64-bit integers
        }
        let begun = std::time::Instant::now();
        for params in [Params::Uniform, Params::Immediate] {
            let translated = pipeline.configure(params).and_then(|c| c.hlsl());
            let result = translated.and_then(|(text, entry)| compile(&text, &entry));
            let what = format!(
                "{} {:?}, {params:?}",
                pipeline.shader.stem, pipeline.overrides
            );
            match result {
                Ok(_) => compiled += 1,
                Err(error) => failures.push(format!("{what}: {error}")),
            }
        }
        let seconds = begun.elapsed().as_secs_f64() / 2.0;
        println!(
            "{} {:?}: {seconds:.2} s",
            pipeline.shader.stem, pipeline.overrides
        );
    }
    println!("FXC: {compiled} pipelines");
    assert!(
        compiled > 0 && failures.is_empty(),
        "{}",
        failures.join("\n")
    );
}

#[test]
fn fxc_refuses_what_is_wrong() {
    assert!(compile("[numthreads(1, 1, 1)] void one() {}", "one").is_ok());
    let error = compile("[numthreads(1, 1, 1)] void one() {}", "two").expect_err("no such entry");
    assert!(error.contains("entrypoint not found"), "{error}");
}
