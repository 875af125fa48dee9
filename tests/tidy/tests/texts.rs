//! Rules about texts: links lead somewhere, decisions are listed, what documents say of the code is still so.

use belay_tidy::{File, files, refuse, root};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The targets of a line's Markdown links.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Lines of a Markdown file outside of code blocks, without code spans.
fn prose(file: &File) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("")));
        }
    }
    lines
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.is(".md")) {
        let folder = root().join(Path::new(&file.path).parent().unwrap_or(Path::new("")));
        for (number, line) in prose(file) {
            for target in links(&line).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                let there = if path.is_empty() { root().join(&file.path) } else { folder.join(path) };
                if !there.exists() {
                    broken.push(format!("{}:{number}: {target}", file.path));
                } else if !anchor.is_empty() && !has_heading(&there, anchor) {
                    broken.push(format!("{}:{number}: no heading #{anchor} there", file.path));
                }
            }
        }
    }
    refuse("links lead somewhere", &broken);
}

fn has_heading(file: &Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let slug = |heading: &str| -> String {
        let lower = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor)
}

#[test]
fn every_decision_is_numbered_once_and_listed() {
    let files = files();
    let index = files.iter().find(|file| file.path == "docs/decisions/README.md").unwrap();
    let records: Vec<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/decisions/"))
        .filter(|name| *name != "README.md")
        .collect();
    let mut broken = Vec::new();
    for (at, name) in records.iter().enumerate() {
        if !index.text.contains(&format!("({name})")) {
            broken.push(format!("{name} is not in docs/decisions/README.md"));
        }
        if !name.starts_with(&format!("{:03}-", at + 1)) {
            broken.push(format!("{name} should have number {:03}", at + 1));
        }
    }
    refuse("decisions", &broken);
}

#[test]
fn tests_that_documents_name_exist() {
    let files = files();
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.path == "ARCHITECTURE.md") {
        for (number, line) in file.lines() {
            let spans = line.split('`').skip(1).step_by(2);
            let tests = spans.filter(|span| {
                span.matches('_').count() >= 3 && span.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            for name in tests {
                let found = |file: &&File| file.is(".rs") && file.text.contains(&format!("fn {name}("));
                if !files.iter().any(|file| found(&file)) {
                    broken.push(format!("{}:{number}: {name}", file.path));
                }
            }
        }
    }
    refuse("what a document says is tested by name, is", &broken);
}

#[test]
fn the_ids_of_messages_are_documented() {
    let files = files();
    let text = |path: &str| files.iter().find(|file| file.path == path).unwrap().text.clone();
    let documented = text("docs/journal.md");
    let code = text("daemon/src/shell/journal.rs");
    let ids: Vec<&str> =
        code.split('"').filter(|word| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit())).collect();
    assert!(!ids.is_empty(), "no ids found: this test looks in the wrong place");
    let broken: Vec<String> = ids.iter().filter(|id| !documented.contains(**id)).map(|id| (*id).to_owned()).collect();
    refuse("docs/journal.md names every MESSAGE_ID", &broken);
}

#[test]
fn what_begins_as_a_script_can_be_run_and_nothing_else() {
    let mut broken = Vec::new();
    for file in files() {
        let mode = std::fs::metadata(root().join(&file.path)).map_or(0, |data| data.permissions().mode());
        let (script, runs) = (file.text.starts_with("#!/"), mode & 0o111 != 0);
        if script != runs {
            broken.push(format!(
                "{}: {}",
                file.path,
                if script { "is a script without the right to run" } else { "may run and is no script" }
            ));
        }
    }
    refuse("executable bits", &broken);
}

#[test]
fn nothing_names_the_place_where_it_was_written() {
    let marks = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("Co-auth", "ored-by")];
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| !file.is("Cargo.lock")) {
        for (number, line) in file.lines() {
            broken.extend(
                marks.iter().filter(|mark| line.contains(**mark)).map(|mark| format!("{}:{number}: {mark}", file.path)),
            );
        }
    }
    refuse("paths of one machine mean nothing on another", &broken);
}
