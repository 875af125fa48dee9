//! Rules about code: what must not be where, how long a file may get, and which crate may know which.

use belay_tidy::{code, files, refuse, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What the engine and the drivers decide must follow from entries and events alone, on every host and in the simulator.
#[test]
fn engine_and_drivers_touch_neither_files_nor_clocks_nor_chance() {
    let forbidden = [
        "tokio",
        "std::net",
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "std::io",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "rand::",
        "println!",
        "eprintln!",
        "dbg!",
        "thread_local!",
        "static mut",
        "unsafe",
    ];
    let mut broken = Vec::new();
    let pure = |path: &str| path.starts_with("engine/src/") || path.starts_with("driver/src/");
    for file in files().iter().filter(|file| pure(&file.path) && file.is(".rs")) {
        // The switch of the deliberate faults, which only the simulator's feature compiles.
        let switch = file.path == "engine/src/mutant.rs";
        for (number, line) in code(file) {
            let found = forbidden.iter().filter(|word| line.contains(**word) && !(switch && **word == "thread_local!"));
            broken.extend(found.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    refuse("engine and drivers are pure (ARCHITECTURE.md)", &broken);
}

/// The engine reads configurations too, so what reads them is bound by the same rule.
#[test]
fn vocabulary_and_configuration_do_no_io() {
    let forbidden =
        ["tokio", "Tcp", "Udp", "std::fs", "std::thread", "std::process", "Instant", "SystemTime", "println!"];
    let mut broken = Vec::new();
    let pure = |path: &str| path.starts_with("proto/src/") || path.starts_with("config/src/");
    for file in files().iter().filter(|file| pure(&file.path) && file.is(".rs")) {
        for (number, line) in code(file) {
            let found = forbidden.iter().filter(|word| line.contains(**word));
            broken.extend(found.map(|word| format!("{}:{number}: {word}", file.path)));
        }
    }
    refuse("proto and config do no I/O (ARCHITECTURE.md)", &broken);
}

#[test]
fn no_file_grows_beyond_what_a_person_reads_at_once() {
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.is(".rs")) {
        let (lines, limit) = (file.text.lines().count(), if file.is_test() { 800 } else { 600 });
        if lines > limit {
            broken.push(format!("{} has {lines} lines", file.path));
        } else if lines > 500 {
            println!("{} has {lines} lines: has it still one subject?", file.path);
        }
    }
    refuse("a file has one subject (CONTRIBUTING.md)", &broken);
}

#[test]
fn every_file_says_first_what_it_is() {
    let opens = |text: &str| text.starts_with("//!") || text.starts_with("#![") && text.contains("\n//!");
    let broken: Vec<String> = files()
        .iter()
        .filter(|file| file.is(".rs") && !file.is_test() && !opens(&file.text))
        .map(|file| format!("{} does not open with `//!`", file.path))
        .collect();
    refuse("a module's first paragraph could be read aloud (CONTRIBUTING.md)", &broken);
}

#[test]
fn no_file_is_named_after_nothing() {
    let names = ["util", "utils", "common", "helper", "helpers", "misc", "stuff", "types"];
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.is(".rs")) {
        let parts = file.path.trim_end_matches(".rs").split('/');
        broken.extend(parts.filter(|part| names.contains(part)).map(|part| format!("{}: {part}", file.path)));
    }
    refuse("a name says what is inside", &broken);
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut broken = Vec::new();
    for file in
        files().iter().filter(|file| file.is(".rs") || file.is(".sh") || file.is("Makefile") || file.is(".toml"))
    {
        for (number, line) in file.lines() {
            broken.extend(
                marks.iter().filter(|mark| line.contains(**mark)).map(|mark| format!("{}:{number}: {mark}", file.path)),
            );
        }
    }
    refuse("what is not done is not there", &broken);
}

/// Which of our crates each crate's programs and library may use. Tests may use anything.
#[test]
fn crates_know_only_what_is_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("belay-proto", &[][..]),
        ("belay-config", &["belay-proto"]),
        ("belay-engine", &["belay-proto", "belay-config"]),
        ("belay-driver", &["belay-proto", "belay-config", "belay-engine"]),
        ("belayd", &["belay-proto", "belay-config", "belay-engine", "belay-driver"]),
        ("belay-agent-libvirt", &["belay-proto"]),
        ("fence-belay-demo", &["belay-proto"]),
        ("belay-cli", &["belay-proto", "belay-config", "belay-engine"]),
    ]);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut broken = Vec::new();
    for package in packages {
        let (name, manifest) = (package["name"].as_str().unwrap(), package["manifest_path"].as_str().unwrap());
        let tests_only = manifest.contains("/tests/") || manifest.contains("/benches/");
        if tests_only {
            continue;
        }
        let Some(allowed) = allowed.get(name) else {
            broken.push(format!("{name} is new: say in this test and in ARCHITECTURE.md what it may know"));
            continue;
        };
        let known = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"] != "dev");
        let known = known.filter_map(|dependency| dependency["name"].as_str()).filter(|known| ours.contains(known));
        broken.extend(known.filter(|known| !allowed.contains(known)).map(|known| format!("{name} depends on {known}")));
    }
    refuse("dependencies point one way (ARCHITECTURE.md)", &broken);
}

#[test]
fn every_crate_obeys_the_lints_and_every_shared_dependency_is_used() {
    let files = files();
    let manifests: Vec<_> = files.iter().filter(|file| file.is("/Cargo.toml")).collect();
    let mut broken: Vec<String> = manifests
        .iter()
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| format!("{} does not take the workspace's lints", file.path))
        .collect();
    let workspace = files.iter().find(|file| file.path == "Cargo.toml").unwrap();
    let shared = workspace.text.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for name in shared.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        let used = |text: &str| {
            text.lines()
                .any(|line| line.starts_with(&format!("{name}.workspace")) || line.starts_with(&format!("{name} = ")))
        };
        if !manifests.iter().any(|file| used(&file.text)) {
            broken.push(format!("Cargo.toml: nobody uses {name}"));
        }
    }
    refuse("manifests", &broken);
}
