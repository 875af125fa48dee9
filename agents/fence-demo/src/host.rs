//! A demo host and its power switch.

use crate::process::{self, Doomed, Process};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often is looked again.
const POLL: Duration = Duration::from_millis(5);

/// How far a process's start may seem to lie after the writing of a file that names it: start times are rounded.
const START_SLACK: Duration = Duration::from_secs(2);

/// Why a host cannot be switched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("Unable to connect/login to fencing device: cannot read {dir}: {error}; is the demo running?", dir = dir.display())]
    StateDir { dir: PathBuf, error: std::io::Error },
    #[error("Unable to obtain correct plug status or plug is not available: there is no demo host '{0}'")]
    NoHost(String),
    #[error("this agent runs on {0} itself and would be the first to go: fence a host from another one")]
    Myself(String),
    #[error("cannot write {file}: {error}", file = file.display())]
    Write { file: PathBuf, error: std::io::Error },
    #[error("cannot read {file}: {error}", file = file.display())]
    Read { file: PathBuf, error: std::io::Error },
    #[error("not allowed to kill the processes of {host}: {errno}; run the agent as the user who runs the demo")]
    Kill { host: String, errno: Errno },
    #[error("Timed out waiting to power OFF: {host} still has processes {left:?}")]
    OffTimeout { host: String, left: Vec<i32> },
    #[error("Timed out waiting to power ON: no supervisor of {0} has come up")]
    OnTimeout(String),
}

/// The names of all hosts below the directory.
pub(crate) fn names(state_dir: &Path) -> Result<Vec<String>, HostError> {
    let failed = |error| HostError::StateDir { dir: state_dir.to_owned(), error };
    let entries = fs::read_dir(state_dir).map_err(failed)?.flatten();
    // A directory without a switch is something else that lies there.
    let hosts = entries.filter(|entry| entry.path().join("power").is_file() || entry.path().join("pid").is_file());
    let mut names: Vec<String> = hosts.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// A host that exists, on or off.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    dir: PathBuf,
    /// The directory as processes may name it: with symbolic links resolved, and as the agent was told.
    spellings: Vec<Vec<u8>>,
}

impl Host {
    pub(crate) fn open(state_dir: &Path, name: &str) -> Result<Self, HostError> {
        let failed = |error| HostError::StateDir { dir: state_dir.to_owned(), error };
        let told = std::path::absolute(state_dir).map_err(failed)?;
        let real = fs::canonicalize(state_dir).map_err(failed)?;
        let dir = real.join(name);
        // A name with a slash, or `..`, would be another directory than one of the hosts'.
        if name.contains('/') || [".", ".."].contains(&name) || !dir.is_dir() {
            return Err(HostError::NoHost(name.to_owned()));
        }
        let mut spellings: Vec<Vec<u8>> = [dir.clone(), told.join(name)]
            .into_iter()
            .chain(fs::canonicalize(&dir))
            .map(|path| process::trim_slash(path.as_os_str().as_bytes()).to_owned())
            .collect();
        spellings.sort();
        spellings.dedup();
        Ok(Self { name: name.to_owned(), dir, spellings })
    }

    /// Whether anything of it runs, or may be started at any moment.
    pub(crate) fn is_on(&self) -> Result<bool, HostError> {
        Ok(self.switched_on()? || !self.processes().is_empty())
    }

    /// Switches it off and sees to it that nothing of it is left. `false` if it was off already.
    pub(crate) fn off(&self, timeout: Duration) -> Result<bool, HostError> {
        let give_up = Instant::now() + timeout;
        let own = process::own_line();
        if self.processes().keys().any(|pid| own.contains(pid)) {
            return Err(HostError::Myself(self.name.clone()));
        }
        let mut did_something = self.switched_on()?;
        // First of all: from now on nobody starts it again.
        self.switch("off")?;
        let mut doomed = Doomed::default();
        loop {
            // Until there is nothing new to stop; or until the time is up, if somebody keeps starting more.
            while self.failed(doomed.stop(self.processes()))? > 0 && Instant::now() < give_up {
                did_something = true;
            }
            self.failed(doomed.kill())?;
            let mut left = doomed.left();
            left.extend(self.processes().into_keys());
            if left.is_empty() {
                return Ok(did_something);
            }
            if Instant::now() >= give_up {
                return Err(HostError::OffTimeout { host: self.name.clone(), left });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Switches it on and waits for its supervisor. `false` if it was on already.
    pub(crate) fn on(&self, timeout: Duration) -> Result<bool, HostError> {
        let give_up = Instant::now() + timeout;
        let was_on = self.switched_on()? && self.supervisor().is_some();
        self.switch("on")?;
        while self.supervisor().is_none() {
            if Instant::now() >= give_up {
                return Err(HostError::OnTimeout(self.name.clone()));
            }
            std::thread::sleep(POLL);
        }
        Ok(!was_on)
    }

    /// Everything of this host that lives.
    fn processes(&self) -> BTreeMap<i32, Process> {
        let supervisor = self.supervisor().map(|process| process.pid);
        process::of_host(|process| supervisor == Some(process.pid) || self.owns(process))
    }

    fn owns(&self, process: &Process) -> bool {
        self.spellings.iter().any(|dir| process.belongs_to(dir))
    }

    /// The supervisor, if the process that `pid` names lives and is it. A file left over from an earlier run may name
    /// a process that has nothing to do with us: that one is marked otherwise, or was started after the file was written.
    fn supervisor(&self) -> Option<Process> {
        let file = self.dir.join("pid");
        let process = process::read(fs::read_to_string(&file).ok()?.trim().parse().ok()?)?;
        if self.owns(&process) {
            return Some(process);
        }
        if self.spellings.iter().all(|dir| process.belongs_elsewhere(dir)) {
            return None;
        }
        let written = file.metadata().ok()?.modified().ok()?;
        (process.start_time()? <= written + START_SLACK).then_some(process)
    }

    /// What `power` says. A host without that file counts as on: nobody has switched it off.
    fn switched_on(&self) -> Result<bool, HostError> {
        let file = self.dir.join("power");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim() != "off"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(HostError::Read { file, error }),
        }
    }

    /// Written beside and renamed, so that nobody ever reads half a word.
    fn switch(&self, word: &str) -> Result<(), HostError> {
        let file = self.dir.join("power");
        let new = self.dir.join(format!("power.{}", std::process::id()));
        fs::write(&new, format!("{word}\n"))
            .and_then(|()| fs::rename(&new, &file))
            .map_err(|error| HostError::Write { file, error })
    }

    fn failed<T>(&self, result: Result<T, Errno>) -> Result<T, HostError> {
        result.map_err(|errno| HostError::Kill { host: self.name.clone(), errno })
    }
}
