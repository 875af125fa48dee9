//! The project's rules about its own files, as tests: what `ARCHITECTURE.md` and `CONTRIBUTING.md` say of code and texts
//! and a program can check. Whatever breaks a rule is named with its file and line, all of it at once.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the project.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the project's root, with `/` between the parts.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl File {
    /// Its lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Whether its name ends so.
    #[must_use]
    pub fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }

    /// Whether it only runs in tests.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.starts_with("tests/") || self.path.ends_with("/tests.rs")
    }
}

/// The project's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file, in order of path; no build output and nothing of git's own.
#[must_use]
pub fn files() -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let foreign = name == "target" || name == ".git" || entry.path().join("CACHEDIR.TAG").exists();
            if !foreign {
                walk(&entry.path(), &path, found);
            }
        } else if kind.is_file()
            // Not the pointer that a second worktree has in its place.
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

/// The code of a Rust file without comments and without the tests at its end.
#[must_use]
pub fn code(file: &File) -> Vec<(usize, &str)> {
    let tests = file.text.find("#[cfg(test)]\nmod tests {").map_or(usize::MAX, |at| file.text[..at].lines().count());
    let code = file.lines().take_while(|(number, _)| *number <= tests);
    code.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// Fails with everything that breaks a rule, unless nothing does.
///
/// # Panics
/// With the list.
#[track_caller]
#[allow(clippy::panic)]
pub fn refuse(rule: &str, broken: &[String]) {
    if !broken.is_empty() {
        let list = broken.iter().fold(String::new(), |mut list, line| {
            let _ = writeln!(list, "  {line}");
            list
        });
        panic!("{rule}:\n{list}");
    }
}
