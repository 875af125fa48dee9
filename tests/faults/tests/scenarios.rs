//! The scenarios of `tests/data/scenarios` that say `also on real hosts`, played there.

use belay_faults::scenario::play;
use belay_sim::scenario::Scenario;
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "scenario") {
            found.push(path);
        }
    }
    Ok(())
}

/// A test, if the file wants to be one here. One that cannot be read fails, wherever it wanted to be.
fn trial(root: &Path, path: &Path) -> Option<Trial> {
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    let read = fs::read_to_string(path).map_err(Failed::from);
    let read = read.and_then(|text| Ok(Scenario::read(&format!("tests/data/scenarios/{name}"), &text)?));
    let title = name.trim_end_matches(".scenario").to_owned();
    match read {
        Ok(scenario) if !scenario.real => None,
        Ok(scenario) => Some(Trial::test(title, move || play(&scenario).map_err(|error| format!("{error:#}").into()))),
        Err(failed) => Some(Trial::test(title, move || Err(failed))),
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/scenarios");
    let mut found = Vec::new();
    if let Err(error) = files(&root, &mut found) {
        eprintln!("{}: {error}", root.display());
        return ExitCode::FAILURE;
    }
    let trials = found.iter().filter_map(|path| trial(&root, path)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
