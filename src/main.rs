//! The `tutti` binary: parse the role, call the library.

fn main() -> std::process::ExitCode {
    tutti::console::cli::main()
}
