//! Every file of `tests/data/scenarios` as a test of its own, named for the behaviour it pins.
//!
//! Each is played with several seeds, which decide how long everything takes: what a file says must not hang on that.
//! `cargo test -p belay-sim --test scenario_files recovery` runs those below `recovery/`.

use belay_sim::scenario::{Options, Scenario, play};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SEEDS: [u64; 3] = [1, 2, 3];

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "scenario") {
            found.push(path);
        } else {
            let known = path.file_name().is_some_and(|name| name == "README.md");
            assert!(known, "{} is neither a scenario nor the README", path.display());
        }
    }
    Ok(())
}

fn run(file: &str, path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let scenario = Scenario::read(file, &text)?;
    let played = SEEDS.into_iter().try_for_each(|seed| {
        let failure = play(&scenario, Options { seed, trace: false });
        failure.map_err(|failure| format!("{}\nwith seed {seed}: {failure}", failure.trace))
    });
    match (&scenario.pending, played) {
        (None, played) => Ok(played?),
        (Some(what), Ok(())) => {
            println!("pending: {file} waits for {what}, and passes: remove the line");
            Ok(())
        }
        (Some(what), Err(why)) => {
            let last = why.lines().rev().take(3).collect::<Vec<_>>();
            println!(
                "pending: {file} waits for {what}\n    {}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n    ")
            );
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/scenarios");
    let mut found = Vec::new();
    if let Err(error) = files(&root, &mut found) {
        eprintln!("{}: {error}", root.display());
        return ExitCode::FAILURE;
    }
    let trial = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let file = format!("tests/data/scenarios/{name}");
        let title = name.trim_end_matches(".scenario").to_owned();
        Trial::test(title, move || run(&file, &path))
    };
    let trials = found.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
