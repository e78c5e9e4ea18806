//! The program `weft`. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft::cli::main()
}
