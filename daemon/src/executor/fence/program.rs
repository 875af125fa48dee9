//! Running one agent: found through `PATH`, no shell, no arguments, its parameters on standard input, in a process
//! group of its own, for a limited time.

use super::capture::Captured;
use super::starter::Starter;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long to read on after the agent has ended: what it printed is there at once, but something it left running may
/// hold the pipe open for ever.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// Why an agent could not be run at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProgramError {
    #[error(
        "no program of this name in PATH: install the fence agent (package fence-agents), or correct agent= in cluster.conf"
    )]
    Missing,
    #[error("the agent cannot be started: {0}")]
    Start(String),
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Exit status 0.
    Success,
    /// Another exit status.
    Exit(i32),
    /// Killed, and not by us.
    Signal(i32),
    /// It had not ended at its time limit, and was killed.
    TimeLimit(Duration),
    /// It was killed because nobody wants the victim fenced any more.
    Cancelled,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Exit(status) => write!(f, "it ended with exit status {status}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "it was killed by {signal}"),
                Err(_) => write!(f, "it was killed by signal {number}"),
            },
            Self::TimeLimit(limit) => write!(f, "it had not ended after {} s and was killed", limit.as_secs_f64()),
            Self::Cancelled => f.write_str("stopped because it is no longer wanted"),
        }
    }
}

/// The agent's file: the first executable of this name in `path`, the daemon's own `PATH` if not given.
pub(super) fn find(agent: &str, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let executable = |file: &Path| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if agent.contains('/') {
        return Some(PathBuf::from(agent)).filter(|file| executable(file)).ok_or(ProgramError::Missing);
    }
    let path = path.map(OsString::from).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(agent));
    files.find(|file| !agent.is_empty() && executable(file)).ok_or(ProgramError::Missing)
}

/// Runs it to its end, whichever that is.
pub(super) async fn run(
    starter: &Starter,
    agent: &Path,
    input: String,
    limit: Duration,
    kill_grace: Duration,
    cancelled: &mut watch::Receiver<bool>,
) -> Result<(Ended, Captured), ProgramError> {
    let failed = |e: std::io::Error| ProgramError::Start(e.to_string());
    let (mut child, mut output) = start_patiently(starter, agent).await.map_err(failed)?;
    let group = Group(child.id());
    let stdin = child.stdin.take();
    let mut captured = Captured::default();
    let ended = {
        // All at once: an agent may print before it reads, or end without reading. That it has closed its output does
        // not mean that it is done, so this branch never ends the select.
        let feed_and_read = async {
            tokio::join!(feed(stdin, input), read_all(&mut output, &mut captured));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            status = child.wait() => Some(status.map_err(failed)?),
            () = feed_and_read => None,
            () = sleep(limit) => None,
            _ = cancelled.wait_for(|cancelled| *cancelled) => None,
        }
    };
    let ended = match ended {
        Some(status) => {
            group.let_go();
            how(status)
        }
        None => {
            group.kill(kill_grace).await;
            child.wait().await.map_err(failed)?;
            if *cancelled.borrow() || cancelled.has_changed().is_err() {
                Ended::Cancelled
            } else {
                Ended::TimeLimit(limit)
            }
        }
    };
    let _ = timeout(LAST_OUTPUT, read_all(&mut output, &mut captured)).await;
    Ok((ended, captured))
}

/// Starts it, and if the file is just being written (a package upgrade), waits for that to end.
async fn start_patiently(starter: &Starter, agent: &Path) -> std::io::Result<(Child, pipe::Receiver)> {
    for _ in 0..50 {
        match start(starter, agent).await {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => sleep(Duration::from_millis(20)).await,
            other => return other,
        }
    }
    start(starter, agent).await
}

/// Starts it with one pipe for both its outputs, so that their order is kept.
async fn start(starter: &Starter, agent: &Path) -> std::io::Result<(Child, pipe::Receiver)> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(agent);
    command
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true)
        .env("LC_ALL", "C")
        // Only the daemon speaks to systemd.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID");
    // The command holds our copies of the pipe's other end, and ends with its start: now the end of output shows.
    let child = starter.start(command).await?;
    Ok((child, pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?))
}

async fn feed(stdin: Option<ChildStdin>, input: String) {
    if let Some(mut stdin) = stdin {
        // An agent that does not read is none the worse for it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
}

async fn read_all(output: &mut pipe::Receiver, captured: &mut Captured) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        captured.take(buffer.get(..length).unwrap_or_default());
    }
}

fn how(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ended::Success,
        (Some(code), _) => Ended::Exit(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// The agent's process group, killed as a whole when it is not let go: when the time is up, and when the task that
/// runs the agent is dropped with the daemon.
///
/// The leader must not have been waited for while this is alive. Its number is then taken and cannot have become
/// somebody else's.
struct Group(Option<u32>);

impl Group {
    fn id(&self) -> Option<Pid> {
        self.0.and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1).map(Pid::from_raw)
    }

    fn let_go(mut self) {
        self.0 = None;
    }

    /// SIGTERM, so that an agent can log out of its device; then SIGKILL to all that is left of the group.
    async fn kill(self, grace: Duration) {
        let Some(id) = self.id() else { return };
        let _ = killpg(id, Signal::SIGTERM);
        let give_up = Instant::now() + grace;
        while Instant::now() < give_up && !leader_ended(id) {
            sleep(Duration::from_millis(10)).await;
        }
        // Dropping it sends SIGKILL.
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id() {
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

/// Whether the leader has ended, without reaping it.
fn leader_ended(id: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(id), flags) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => false,
        Ok(_) | Err(_) => true,
    }
}
