//! Running a program under a time limit: a lab test must end with a reason, never hang.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a program did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Whether it exited with 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started, or is still running at the limit; it is killed then, its children included.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ran> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {command:?}; is its package installed?"))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            // The whole group: a shell's child would keep running, and hold the pipes.
            let _ = killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL);
            let _ = child.wait();
            bail!("{command:?} was still running after {:.0} s", limit.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = start.elapsed();
    Ok(Ran { code: status.code(), stdout: collected(&stdout), stderr: collected(&stderr), took })
}

/// Runs a program that has to succeed, and returns what it printed.
///
/// # Errors
/// As [`run`], and when it fails; the message carries its output.
pub fn must(command: &mut Command, limit: Duration) -> Result<String> {
    let ran = run(command, limit)?;
    if !ran.ok() {
        bail!("{command:?} ended with {:?}: {}{}", ran.code, ran.stdout, ran.stderr);
    }
    Ok(ran.stdout)
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (full, output) = channel();
    if let Some(mut pipe) = pipe {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            let _ = full.send(bytes);
        });
    }
    output
}

/// A daemon that the program left behind may hold the pipe for ever, so the end of the program is waited for, not the
/// end of the pipe.
fn collected(output: &Receiver<Vec<u8>>) -> String {
    let bytes = output.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
