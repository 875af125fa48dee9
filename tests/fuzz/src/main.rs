//! The program that `make fuzz` runs: libFuzzer's own command line, and the target that `BELAY_FUZZ_TARGET` names.
#![no_main]

use belay_fuzz::{TARGETS, Target, find};
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("BELAY_FUZZ_TARGET").unwrap_or_default();
    find(&name).unwrap_or_else(|| {
        eprintln!("'{name}' is no fuzz target; these are:");
        for Target { name, about, .. } in TARGETS {
            eprintln!("  {name:16} {about}");
        }
        std::process::exit(2);
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
