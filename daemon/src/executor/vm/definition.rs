//! Finds a VM's definition where its configuration says.
//!
//! The file may lie on shared storage that is gone or hangs. Reading it therefore has a time limit, and a read that
//! never comes back holds one of a few places, so that a dead NFS server cannot eat the daemon's threads.

use belay_config::model::Vm;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// No real definition comes near this.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// How many reads may hang at once.
const READERS: usize = 8;

/// Reads definitions.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    places: Arc<Semaphore>,
    within: Duration,
}

/// Why there is no definition. None of these says anything about whether the domain runs (design S8).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoDefinition {
    #[error("vm {0} has neither xmlfile nor path in cluster.conf: add one, so that its definition can be found")]
    NotConfigured(String),
    #[error("no definition of vm {name} was found; tried {tried}")]
    NotFound { name: String, tried: String },
    #[error("the storage of {paths} does not answer within {seconds} s")]
    Hangs { paths: String, seconds: u64 },
}

impl Definitions {
    pub(super) fn new(within: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(READERS)), within }
    }

    /// The definition's text.
    pub(super) async fn read(&self, vm: &Vm) -> Result<String, NoDefinition> {
        let candidates = candidates(vm);
        if candidates.is_empty() {
            return Err(NoDefinition::NotConfigured(vm.name.clone()));
        }
        let hangs = || NoDefinition::Hangs {
            paths: candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
            seconds: self.within.as_secs(),
        };
        let (name, paths) = (vm.name.clone(), candidates.clone());
        let reading = async {
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            let read = tokio::task::spawn_blocking(move || {
                // The place is free again when the read really ended, not when its reader lost patience.
                let _place = place;
                first_readable(&name, &paths)
            });
            read.await.ok()
        };
        match tokio::time::timeout(self.within, reading).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => Err(hangs()),
        }
    }
}

/// Where to look, in order (rgmanager.md §7.1): `xmlfile` wins, else each folder of `path` is searched for the name
/// and then for the name with `.xml`.
fn candidates(vm: &Vm) -> Vec<PathBuf> {
    if let Some(file) = &vm.xmlfile {
        return vec![PathBuf::from(file)];
    }
    // A name with a slash would lead out of the folder.
    if vm.name.contains('/') {
        return Vec::new();
    }
    let folders = vm.path.iter().filter(|folder| !folder.is_empty()).map(Path::new);
    folders.flat_map(|folder| [folder.join(&vm.name), folder.join(format!("{}.xml", vm.name))]).collect()
}

fn first_readable(name: &str, paths: &[PathBuf]) -> Result<String, NoDefinition> {
    let mut tried = Vec::new();
    for path in paths {
        match read_file(path) {
            Ok(text) => return Ok(text),
            Err(error) => tried.push(format!("{} ({error})", path.display())),
        }
    }
    Err(NoDefinition::NotFound { name: name.to_owned(), tried: tried.join(", ") })
}

fn read_file(path: &Path) -> io::Result<String> {
    // Asked before it is opened: opening a pipe or a device could wait for ever or do something.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("larger than 4 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn definitions() -> Definitions {
        Definitions::new(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn the_path_is_searched_for_the_name_and_then_for_the_name_with_xml() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |n: &str| dir.path().join(n).display().to_string();
        fs::create_dir_all(dir.path().join("a/web1")).unwrap();
        fs::create_dir_all(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("b/web1.xml"), "from b").unwrap();
        let vm = Vm { path: vec![folder("missing"), folder("a"), folder("b")], ..Vm::new("web1") };
        assert_eq!(definitions().read(&vm).await.unwrap(), "from b", "a folder of that name is no definition");
        fs::write(dir.path().join("b/web1"), "without suffix").unwrap();
        assert_eq!(definitions().read(&vm).await.unwrap(), "without suffix");
        let vm = Vm { xmlfile: Some(folder("b/web1.xml")), ..vm };
        assert_eq!(definitions().read(&vm).await.unwrap(), "from b", "xmlfile wins");
    }

    #[tokio::test]
    async fn every_path_tried_is_named() {
        let vm = Vm { path: vec!["/nowhere".into(), "/nothing".into()], ..Vm::new("web1") };
        let said = definitions().read(&vm).await.unwrap_err().to_string();
        for path in ["/nowhere/web1 (", "/nowhere/web1.xml (", "/nothing/web1 (", "/nothing/web1.xml ("] {
            assert!(said.contains(path), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_text_file_of_sensible_size_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("big");
        fs::File::create(&file).unwrap().set_len(MAX_BYTES + 1).unwrap();
        for (xmlfile, said) in [("/dev/zero", "not a file"), (file.to_str().unwrap(), "4 MiB")] {
            let vm = Vm { xmlfile: Some(xmlfile.into()), ..Vm::new("web1") };
            let error = definitions().read(&vm).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = definitions().read(&Vm::new("web1")).await.unwrap_err().to_string();
        assert!(error.contains("xmlfile"), "{error}");
    }

    #[tokio::test]
    async fn storage_that_hangs_costs_the_time_limit_and_no_more() {
        let definitions = Definitions { places: Arc::new(Semaphore::new(0)), within: Duration::from_millis(50) };
        let vm = Vm { xmlfile: Some("/etc/hostname".into()), ..Vm::new("web1") };
        assert!(matches!(definitions.read(&vm).await, Err(NoDefinition::Hangs { .. })));
    }
}
