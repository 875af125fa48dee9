//! A real host on this machine: the demo's supervisor with a real `belayd` and its libvirt agent, alone in a cluster of
//! one on the local ring.

use anyhow::{Context, Result, bail};
use belay_demo::layout::{HOST_VARIABLE, Host, Run};
use belay_demo::reaper::{Ended, Reaper};
use belay_demo::{process, talk, world};
use belay_proto::control::Status;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before the benchmark gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The release build's programs.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those that were built together with this benchmark.
    ///
    /// # Errors
    /// When they were not.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe()?;
        // …/release/deps/budget-0123abcd
        let folder = own.parent().and_then(Path::parent).context("this program lies in no folder")?.to_owned();
        for name in ["belayd", "belay", "belay-agent-libvirt", "belay-demo-host", "fence_belay_demo"] {
            if !folder.join(name).is_file() {
                bail!("{} is missing: `make bench` builds it first", folder.join(name).display());
            }
        }
        Ok(Self { folder })
    }
}

/// This program's children are waited for in one place.
fn reaper() -> Result<&'static Reaper> {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    if let Some(reaper) = REAPER.get() {
        return Ok(reaper);
    }
    let reaper = Reaper::start()?;
    Ok(REAPER.get_or_init(|| reaper))
}

/// Runs a program to its end, and says whether it succeeded.
///
/// # Errors
/// When it cannot be started or does not end.
pub fn run(command: &mut Command) -> Result<bool> {
    let pid = i32::try_from(reaper()?.spawn(command)?.id())?;
    let ended = reaper()?.wait(pid, PATIENCE).context("it does not end")?;
    Ok(ended == Ended::Code(0))
}

/// The host. It and all it runs end when this is dropped.
pub struct OneHost {
    /// Its folder and the run's.
    pub run: Run,
    /// The host itself.
    pub host: Host,
    supervisor: Child,
    _folder: tempfile::TempDir,
}

impl OneHost {
    /// Boots a host whose configuration has these VMs, and waits until it is quorate and all it knows is on disk.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn boot(programs: &Programs, vms: &[String], autostart: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bb").tempdir_in("/tmp")?;
        let run = Run::at(folder.path())?;
        world::build(&run, &programs.folder, &programs.folder.join("bench-qemu-cache"), reaper()?)?;
        let host = run.host(1);
        fs::write(host.config(), cluster_conf(&run, vms, autostart))?;
        fs::write(host.power(), "on\n")?;
        let mut command = Command::new(programs.folder.join("belay-demo-host"));
        command.arg("--run").arg(&run.dir).arg("--programs").arg(&programs.folder).args(["--host", "1"]);
        command
            .env(HOST_VARIABLE, &host.dir)
            .env("RUST_LOG", "belayd=debug")
            .env("NO_COLOR", "1")
            .env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let supervisor = reaper()?.spawn(&mut command)?;
        let booted = Self { run, host, supervisor, _folder: folder };
        booted.wait("the host to be quorate", |status| {
            status.quorate && status.committed == status.index && status.services.len() == vms.len()
        })?;
        Ok(booted)
    }

    /// Waits until the daemon's status is as wanted.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let start = Instant::now();
        loop {
            match talk::status(&self.host) {
                Ok(status) if wanted(&status) => return Ok(status),
                _ if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                Ok(status) => bail!("waited for {what}; instead: {status:?}"),
                Err(error) => return Err(error.context(format!("waited for {what}"))),
            }
        }
    }

    /// The daemon and its agent.
    #[must_use]
    pub fn processes(&self) -> Vec<(String, i32)> {
        let named = |pid: i32| Some((process::stat(pid)?.name, pid));
        process::all()
            .into_iter()
            .filter(|pid| process::carries(*pid, &self.host.dir))
            .filter_map(named)
            .filter(|(name, _)| name.starts_with("belayd") || name.starts_with("belay-agent"))
            .collect()
    }

    /// What the daemon's log says, with this host's clock before each line.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.host.log()).unwrap_or_default()
    }

    /// Runs a command against the daemon and waits for its end.
    ///
    /// # Errors
    /// When it fails.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let printed = talk::command(&self.run, reaper()?, &self.host, words, PATIENCE)?;
        if !printed.ok() {
            bail!("{words:?} ended with {}: {}", printed.ended, printed.text);
        }
        Ok(printed.text)
    }
}

impl Drop for OneHost {
    fn drop(&mut self) {
        // The end of its standard input is the end of its power.
        drop(self.supervisor.stdin.take());
        if let Ok(pid) = i32::try_from(self.supervisor.id())
            && let Ok(reaper) = reaper()
        {
            // Whether it ended or not: what is left of it is ended below.
            let _ = reaper.wait(pid, PATIENCE);
        }
        if let Err(error) = process::kill_below(&self.run.dir, Duration::from_secs(10)) {
            eprintln!("the benchmark leaves something behind: {error:#}");
        }
    }
}

fn cluster_conf(run: &Run, vms: &[String], autostart: bool) -> String {
    let mut text = String::from(
        "<cluster name=\"bench\" config_version=\"1\">\n<clusternodes><clusternode name=\"node1\" nodeid=\"1\"/></clusternodes>\n<rm>\n",
    );
    for vm in vms {
        let _ = writeln!(
            text,
            "<vm name=\"{vm}\" path=\"{}/\" autostart=\"{}\" recovery=\"restart\"/>",
            run.definitions().display(),
            u8::from(autostart)
        );
    }
    text + "</rm>\n</cluster>\n"
}
