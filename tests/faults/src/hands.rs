//! What a test does to a cluster: kills, stops, asks.

use crate::cluster::Cluster;
use crate::waiting::{PATIENCE, until};
use anyhow::{Context, Result, anyhow};
use belay_demo::reaper::Printed;
use belay_demo::{process, talk};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::thread::JoinHandle;

/// A command that was given and may still be at it.
pub struct Asked(JoinHandle<Result<Printed>>);

impl Asked {
    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0.is_finished()
    }

    /// What it printed and how it ended.
    ///
    /// # Errors
    /// When it could not be run.
    pub fn wait(self) -> Result<Printed> {
        self.0.join().map_err(|_| anyhow!("the thread that ran the command panicked"))?
    }
}

impl Cluster {
    /// Runs a command against a host's daemon.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub fn command(&self, host: u32, words: &[&str]) -> Result<Printed> {
        talk::command(&self.run, &self.reaper, &self.run.host(host), words, PATIENCE * 2)
    }

    /// The same, and it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn succeeds(&self, host: u32, words: &[&str]) -> Result<String> {
        let printed = self.command(host, words)?;
        if printed.ok() {
            Ok(printed.text)
        } else {
            Err(anyhow!("`{}` ended with {}: {}", words.join(" "), printed.ended, printed.text))
        }
    }

    /// Gives a command and does not wait for it.
    #[must_use]
    pub fn ask(&self, host: u32, words: &[&str]) -> Asked {
        let (run, reaper, host) = (self.run.clone(), self.reaper.clone(), self.run.host(host));
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Asked(std::thread::spawn(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            talk::command(&run, &reaper, &host, &words, PATIENCE * 2)
        }))
    }

    /// The processes of a host that run this program.
    #[must_use]
    pub fn programs(&self, host: u32, program: &str) -> Vec<i32> {
        let folder = self.run.host(host).dir;
        let runs = |pid: &i32| {
            let arguments = process::arguments(*pid);
            // A script's interpreter comes first.
            arguments
                .iter()
                .take(2)
                .any(|argument| argument.rsplit(|byte| *byte == b'/').next() == Some(program.as_bytes()))
        };
        let alive = |pid: &i32| process::stat(*pid).is_some_and(|stat| stat.alive());
        process::all().into_iter().filter(|pid| process::carries(*pid, &folder) && runs(pid) && alive(pid)).collect()
    }

    /// Waits for the one process of a host that runs this program.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn program(&self, host: u32, program: &str) -> Result<i32> {
        until(&format!("{program} to run on node{host}"), || match self.programs(host, program).as_slice() {
            [pid] => Ok(Some(*pid)),
            [] => Ok(None),
            several => Err(anyhow!("{program} runs on node{host} several times: {several:?}")),
        })
    }

    /// Sends a signal to a host's daemon.
    ///
    /// # Errors
    /// When there is no daemon.
    pub fn signal_daemon(&self, host: u32, with: Signal) -> Result<i32> {
        let pid = self.program(host, "belayd")?;
        kill(Pid::from_raw(pid), with).with_context(|| format!("cannot signal belayd on node{host}"))?;
        Ok(pid)
    }

    /// Kills a host's daemon; its supervisor starts the next one.
    ///
    /// # Errors
    /// When there is no daemon.
    pub fn kill_daemon(&self, host: u32) -> Result<i32> {
        self.signal_daemon(host, Signal::SIGKILL)
    }

    /// Stops everything of a host but its VMs where it stands, as on a machine that hangs.
    ///
    /// # Errors
    /// When a process cannot be stopped.
    pub fn silence(&self, host: u32) -> Result<()> {
        let folder = self.run.host(host).dir;
        let mut there: Vec<i32> = process::all().into_iter().filter(|pid| process::carries(*pid, &folder)).collect();
        // The supervisor first, or it would start the daemon again.
        there.sort_unstable();
        for pid in there {
            kill(Pid::from_raw(pid), Signal::SIGSTOP).with_context(|| format!("cannot stop process {pid}"))?;
        }
        Ok(())
    }

    /// Lets everything of a host go on that was stopped where it stood.
    pub fn wake(&self, host: u32) {
        let folder = self.run.host(host).dir;
        for pid in process::all().into_iter().filter(|pid| process::carries(*pid, &folder)) {
            // What has died meanwhile needs no waking.
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// `systemctl stop belayd`, without waiting for it.
    ///
    /// # Errors
    /// When there is no daemon.
    pub fn stop_daemon(&self, host: u32) -> Result<i32> {
        fs::write(self.run.host(host).stopped(), "")?;
        self.signal_daemon(host, Signal::SIGTERM)
    }

    /// `systemctl start belayd`.
    ///
    /// # Errors
    /// When it was not stopped.
    pub fn start_daemon(&self, host: u32) -> Result<()> {
        Ok(fs::remove_file(self.run.host(host).stopped())?)
    }
}
