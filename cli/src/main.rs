//! The one binary behind `belay`, `clustat` and `clusvcadm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    belay_cli::main()
}
