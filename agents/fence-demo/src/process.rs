//! The process table, as far as a power switch needs it: who descends from whom, what is left of a host, and killing
//! all of that so that nothing slips away.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The variable by which a process says which demo host it belongs to.
pub(crate) const MARK: &str = "BELAY_DEMO_HOST";

/// One process. Number and start time together never name another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    /// Whether it has a controlling terminal: then a person started it to look at something.
    terminal: bool,
    /// In clock ticks after the machine's boot.
    started: u64,
}

/// All processes that live. One that has ended and only waits to be reaped does not: it runs nothing.
pub(crate) fn all() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(read).map(|process| (process.pid, process)).collect()
}

/// One process, if it lives.
pub(crate) fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &stat)
}

fn parse(pid: i32, stat: &str) -> Option<Process> {
    // The name stands in parentheses and may contain any character, parentheses included.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
    let ended = matches!(*fields.first()?, "Z" | "X" | "x");
    // A leader may have ended while its other threads run on.
    if ended && number(17)? <= 1 {
        return None;
    }
    Some(Process {
        pid,
        parent: i32::try_from(number(1)?).ok()?,
        terminal: number(4)? != 0,
        started: u64::try_from(number(19)?).ok()?,
    })
}

impl Process {
    /// The host directory it is marked with.
    fn mark(&self) -> Option<Vec<u8>> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let variables = environment.split(|byte| *byte == 0);
        variables
            .filter_map(|v| v.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=").map(trim_slash))
            .next()
            .map(Vec::from)
    }

    /// Whether it says itself that it belongs to the host with this directory.
    pub(crate) fn belongs_to(&self, dir: &[u8]) -> bool {
        match self.mark() {
            Some(mark) => mark == dir,
            None => !self.terminal && self.names(dir),
        }
    }

    /// Whether it says that it belongs to another host.
    pub(crate) fn belongs_elsewhere(&self, dir: &[u8]) -> bool {
        self.mark().is_some_and(|mark| mark != dir)
    }

    /// Whether its arguments name something below the directory. With the slash, lest `node1` finds `node10`.
    fn names(&self, dir: &[u8]) -> bool {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let below = [dir, b"/"].concat();
        arguments.windows(below.len()).any(|window| window == below)
    }

    /// When it was started, to a second or two.
    pub(crate) fn start_time(&self) -> Option<SystemTime> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok())?.max(1);
        Some(UNIX_EPOCH + Duration::from_secs(boot) + Duration::from_millis(self.started * 1000 / ticks))
    }

    /// Sends it a signal, unless its number has become somebody else's. `false` if it is gone.
    fn signal(&self, signal: Signal) -> Result<bool, Errno> {
        if read(self.pid).is_none_or(|now| now.started != self.started) {
            return Ok(false);
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

pub(crate) fn trim_slash(path: &[u8]) -> &[u8] {
    match path {
        [rest @ .., b'/'] if !rest.is_empty() => trim_slash(rest),
        path => path,
    }
}

/// This process and all it descends from: never to be killed.
pub(crate) fn own_line() -> BTreeSet<i32> {
    let mut line = BTreeSet::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && !line.contains(pid)) {
        line.insert(pid);
        next = read(pid).map(|process| process.parent);
    }
    line
}

/// The processes that `root` tells are a host's, and everything that descends from them.
pub(crate) fn of_host(root: impl Fn(&Process) -> bool) -> BTreeMap<i32, Process> {
    let all = all();
    let mut found: BTreeSet<i32> = all.values().filter(|process| root(process)).map(|process| process.pid).collect();
    // Each round finds the children of what the round before found; the table is finite.
    loop {
        let more: Vec<i32> =
            all.values().filter(|p| found.contains(&p.parent) && !found.contains(&p.pid)).map(|p| p.pid).collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    all.into_iter().filter(|(pid, _)| found.contains(pid)).collect()
}

/// Processes that are to die, remembered by number and start time: a child whose parent was killed is no longer a
/// descendant of anything, so what was once found must not be forgotten.
#[derive(Debug, Default)]
pub(crate) struct Doomed(BTreeMap<(i32, u64), Process>);

impl Doomed {
    /// Stops every one of these that was not known yet, and says how many there were. A stopped process starts no
    /// other, so when there is nothing new to stop, all have been found.
    pub(crate) fn stop(&mut self, found: BTreeMap<i32, Process>) -> Result<usize, Errno> {
        let mut new = 0;
        for process in found.into_values() {
            let key = (process.pid, process.started);
            if self.0.contains_key(&key) {
                continue;
            }
            new += 1;
            process.signal(Signal::SIGSTOP)?;
            self.0.insert(key, process);
        }
        Ok(new)
    }

    /// Kills them all.
    pub(crate) fn kill(&self) -> Result<(), Errno> {
        self.0.values().try_for_each(|process| process.signal(Signal::SIGKILL).map(|_| ()))
    }

    /// Those that still live.
    pub(crate) fn left(&self) -> Vec<i32> {
        let lives = |p: &&Process| read(p.pid).is_some_and(|now| now.started == p.started);
        self.0.values().filter(lives).map(|process| process.pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_confuse() {
        let rest = "S 7 1 1 34816 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let process = parse(42, &format!("42 (evil) Z 1) {rest}")).unwrap();
        assert_eq!(process, Process { pid: 42, parent: 7, terminal: true, started: 4711 });
    }

    #[test]
    fn what_has_ended_does_not_live_unless_other_threads_run_on() {
        let stat =
            |state: &str, threads: u32| format!("42 (x) {state} 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0");
        assert_eq!(parse(42, &stat("Z", 1)), None);
        assert!(parse(42, &stat("Z", 3)).is_some());
        assert!(parse(42, &stat("D", 1)).is_some());
        assert_eq!(parse(42, "nonsense"), None);
        assert_eq!(parse(42, "42 (x) S"), None);
    }

    #[test]
    fn the_own_line_reaches_up_to_the_first_process() {
        let line = own_line();
        assert!(line.contains(&1) || read(1).is_none());
        assert!(line.contains(&i32::try_from(std::process::id()).unwrap()));
    }

    #[test]
    fn the_start_time_is_about_right() {
        let me = read(i32::try_from(std::process::id()).unwrap()).unwrap();
        let age = SystemTime::now().duration_since(me.start_time().unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(600), "{age:?}");
    }
}
