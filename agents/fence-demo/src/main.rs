//! `fence_belay_demo`, the program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fence_belay_demo::main()
}
