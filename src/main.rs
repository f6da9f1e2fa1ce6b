//! `fairy2i-gpu`: see [`fairy2i_gpu::cli`].

fn main() -> std::process::ExitCode {
    fairy2i_gpu::cli::main()
}
