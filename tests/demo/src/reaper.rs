//! Reaps: a program that adopts orphans must collect every dead child at once, its own and those it never started.
//!
//! libvirt holds a dead VM's domain until the QEMU process is reaped, and a QEMU is an orphan by design (it outlives
//! the daemon that started it). On a real host PID 1 reaps it within milliseconds; here the host's supervisor does, and
//! `belay-demo` itself for a host whose supervisor is gone. One thread waits for any child, so nobody else may:
//! children are started through [`Reaper::spawn`] and waited for with [`Reaper::wait`].

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(Signal),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "{signal}"),
        }
    }
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Standard output and standard error, in the order they were written.
    pub text: String,
    /// How it ended.
    pub ended: Ended,
}

impl Printed {
    /// Whether it ended with exit code 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.ended == Ended::Code(0)
    }
}

/// The one that waits for all children of this process.
#[derive(Clone)]
pub struct Reaper {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Own children that somebody will ask about: how they ended, once they have.
    children: Mutex<BTreeMap<i32, Option<Ended>>>,
    changed: Condvar,
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, BTreeMap<i32, Option<Ended>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reaper {
    /// Adopts the orphans among this process's descendants from now on, and reaps.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start() -> Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).context("cannot adopt orphaned processes")?;
        let reaper = Self { shared: Arc::default() };
        let shared = Arc::clone(&reaper.shared);
        std::thread::Builder::new().name("reaper".into()).spawn(move || reap_for_ever(&shared))?;
        Ok(reaper)
    }

    /// Starts a child that [`Reaper::wait`] can be asked about. The standard library's own `wait` must not be used on it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        // Held while the child starts: one that dies at once is registered before the reaper can record its end.
        let mut children = self.shared.children();
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        children.insert(i32::try_from(child.id())?, None);
        Ok(child)
    }

    /// Runs a command to its end, for `limit` at most, and gives what it printed on both of its outputs.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Result<Printed> {
        // Into a file, not a pipe: nobody has to read while the command works.
        let mut output = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let name = command.get_program().to_string_lossy().into_owned();
        let pid = i32::try_from(self.spawn(command)?.id())?;
        let Some(ended) = self.wait(pid, limit) else {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            bail!("{name} did not end within {} s", limit.as_secs());
        };
        let mut bytes = Vec::new();
        output.rewind()?;
        output.read_to_end(&mut bytes)?;
        Ok(Printed { text: String::from_utf8_lossy(&bytes).into_owned(), ended })
    }

    /// How the child ended, if it has.
    #[must_use]
    pub fn ended(&self, pid: i32) -> Option<Ended> {
        self.shared.children().get(&pid).copied().flatten()
    }

    /// Waits until the child has ended, for `limit` at most.
    #[must_use]
    pub fn wait(&self, pid: i32, limit: Duration) -> Option<Ended> {
        let start = Instant::now();
        let mut children = self.shared.children();
        loop {
            match children.get(&pid) {
                None => return None,
                Some(Some(ended)) => {
                    let ended = *ended;
                    children.remove(&pid);
                    return Some(ended);
                }
                Some(None) => {}
            }
            let left = limit.checked_sub(start.elapsed())?;
            children = self.shared.changed.wait_timeout(children, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn reap_for_ever(shared: &Shared) {
    loop {
        let (pid, ended) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signal(signal)),
            Ok(_) | Err(Errno::EINTR) => continue,
            // No child at all, for the moment.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
        };
        if let Some(child) = shared.children().get_mut(&pid.as_raw()) {
            *child = Some(ended);
            shared.changed.notify_all();
        }
    }
}
