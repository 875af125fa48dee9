//! The folder of a test's cluster, and the removal of what a killed test left behind.
//!
//! Each folder has a file `owner` that the test's process keeps locked. The kernel gives the lock back when that process
//! is gone, however it went; whoever comes next ends what still runs there, unmounts and removes it.

use anyhow::{Context, Result};
use belay_demo::process;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Short, for the sake of QEMU's sockets, and nobody else's.
const PREFIX: &str = "belay-f";

/// How many lines of each daemon's log a failed test shows.
const LAST_WORDS: usize = 120;

/// How much of each line.
const LINE_CHARS: usize = 400;

/// A folder that goes with its owner.
pub(crate) struct Folder {
    path: PathBuf,
    /// Nobody will want to look into it.
    pub(crate) done: bool,
    _owner: Flock<File>,
}

impl Folder {
    /// Makes one, and removes those without an owner.
    pub(crate) fn new() -> Result<Self> {
        clear_leftovers()?;
        let path = tempfile::Builder::new().prefix(PREFIX).rand_bytes(5).tempdir()?.keep();
        // Locked before it has its name: a test that starts at this moment would take an unlocked one for left behind.
        let owner = Flock::lock(File::create(path.join("new"))?, FlockArg::LockExclusiveNonblock);
        let owner = owner.map_err(|(_, errno)| errno)?;
        fs::rename(path.join("new"), path.join("owner"))?;
        fs::create_dir(in_memory(&path))?;
        Ok(Self { path, done: false, _owner: owner })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its part that lies in memory.
    pub(crate) fn in_memory(&self) -> PathBuf {
        in_memory(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.done {
            self.last_words();
        }
        if let Err(error) = end(&self.path).and_then(|()| remove(&self.path)) {
            eprintln!("{} is left behind: {error:#}", self.path.display());
        }
    }
}

impl Folder {
    /// The ends of the daemons' logs, for whoever has to find out what went wrong.
    fn last_words(&self) {
        for host in ["node1", "node2", "node3"] {
            let bytes = fs::read(self.path.join(host).join("belayd.log")).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("---- the end of the log of {host} ----");
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
                eprintln!("{}", line.chars().take(LINE_CHARS).collect::<String>());
            }
        }
    }
}

fn in_memory(path: &Path) -> PathBuf {
    Path::new("/dev/shm").join(path.file_name().unwrap_or_default())
}

fn remove(path: &Path) -> Result<()> {
    // The other part first: without this one nobody would know of it.
    match fs::remove_dir_all(in_memory(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs::remove_dir_all(path)?)
}

/// Ends what runs below a folder and unmounts what is mounted there.
fn end(path: &Path) -> Result<()> {
    process::kill_below(path, Duration::from_secs(10))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(path)) {
        umount2(mount, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {mount}"))?;
    }
    Ok(())
}

fn clear_leftovers() -> Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Without the file it is a folder that is being made this very moment, or nobody's that we know.
        let Ok(owner) = File::open(path.join("owner")) else { continue };
        let Ok(_nobody) = Flock::lock(owner, FlockArg::LockExclusiveNonblock) else { continue };
        end(&path)?;
        // Another test may be at it as well.
        let _ = remove(&path);
    }
    Ok(())
}
