//! `fairy2i-gpu`: see [`fairy2i_gpu::verbs`].

fn main() -> std::process::ExitCode {
    fairy2i_gpu::verbs::main()
}
