//! What the agent is told to do: by `key=value` lines on standard input, or by options on the command line. Both end in
//! the same keys.

use clap::Parser;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More input than any configuration has.
const MAX_INPUT: u64 = 64 * 1024;

/// The longest wait that is taken for meant, in seconds.
const LONGEST: f64 = 3600.0;

/// Why the options make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("Unrecognised action '{0}'; actions are off, on, reboot, status, monitor, list, metadata, validate-all")]
    Action(String),
    #[error("{key}='{value}' is not a number of seconds from 0 to {LONGEST}")]
    Seconds { key: &'static str, value: String },
    #[error("You have to enter the host to fence: give port= (or --plug)")]
    NoPlug,
    #[error("You have to enter the directory of the demo's hosts: give state_dir= (or --state-dir)")]
    NoStateDir,
    #[error("cannot read the parameters on standard input: {0}")]
    Input(String),
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Off,
    On,
    Reboot,
    Status,
    Monitor,
    List,
    Metadata,
    ValidateAll,
}

/// Switch the hosts of Belay's demo off and on, as a fence agent.
///
/// Without arguments, parameters are read from standard input, one key=value a line.
#[derive(Debug, Parser)]
#[command(name = "fence_belay_demo", version)]
struct Arguments {
    /// off, on, reboot (default), status, monitor, list, metadata or validate-all
    #[arg(short = 'o', long)]
    action: Option<String>,
    /// The demo host
    #[arg(short = 'n', long, value_name = "HOST")]
    plug: Option<String>,
    /// The directory that holds a directory for each demo host
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<String>,
    /// Wait this long before switching off
    #[arg(long, value_name = "SECONDS")]
    delay: Option<String>,
    /// How long switching may take [default: 20]
    #[arg(long, value_name = "SECONDS")]
    power_timeout: Option<String>,
}

/// What to do, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) action: Action,
    plug: Option<String>,
    state_dir: Option<PathBuf>,
    pub(crate) delay: Duration,
    pub(crate) power_timeout: Duration,
}

impl Options {
    /// From the command line if there are arguments, from standard input otherwise. Ends the process for `--help`.
    pub(crate) fn read() -> Result<Self, OptionsError> {
        if std::env::args_os().len() > 1 {
            let Arguments { action, plug, state_dir, delay, power_timeout } = Arguments::parse();
            let keys = ["action", "plug", "state_dir", "delay", "power_timeout"];
            let values = [action, plug, state_dir, delay, power_timeout];
            let given = keys.into_iter().zip(values).filter_map(|(key, value)| value.map(|value| (key, value)));
            return Self::from_pairs(given.collect());
        }
        let mut bytes = Vec::new();
        std::io::stdin().take(MAX_INPUT).read_to_end(&mut bytes).map_err(|e| OptionsError::Input(e.to_string()))?;
        Self::from_text(&String::from_utf8_lossy(&bytes))
    }

    /// Blank lines and comments are skipped, unknown keys are other agents' business, the last of equal keys counts.
    pub(crate) fn from_text(text: &str) -> Result<Self, OptionsError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        Self::from_pairs(pairs.map(|(key, value)| (key.trim_end(), value.to_owned())).collect())
    }

    fn from_pairs(pairs: Vec<(&str, String)>) -> Result<Self, OptionsError> {
        let last = |names: &[&str]| {
            let found = pairs.iter().rev().find(|(key, value)| names.contains(key) && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        Ok(Self {
            // `option` is the old name of `action`.
            action: last(&["action", "option"]).map_or(Ok(Action::Reboot), |word| action(&word))?,
            plug: last(&["plug", "port"]).or_else(|| last(&["nodename"])),
            state_dir: last(&["state_dir"]).map(PathBuf::from),
            delay: seconds("delay", last(&["delay"]), 0)?,
            power_timeout: seconds("power_timeout", last(&["power_timeout"]), 20)?,
        })
    }

    pub(crate) fn plug(&self) -> Result<&str, OptionsError> {
        self.plug.as_deref().ok_or(OptionsError::NoPlug)
    }

    pub(crate) fn state_dir(&self) -> Result<&Path, OptionsError> {
        self.state_dir.as_deref().ok_or(OptionsError::NoStateDir)
    }
}

fn action(word: &str) -> Result<Action, OptionsError> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "off" => Action::Off,
        "on" => Action::On,
        "reboot" => Action::Reboot,
        "status" => Action::Status,
        "monitor" => Action::Monitor,
        "list" => Action::List,
        "metadata" => Action::Metadata,
        "validate-all" => Action::ValidateAll,
        _ => return Err(OptionsError::Action(word.to_owned())),
    })
}

fn seconds(key: &'static str, value: Option<String>, default: u64) -> Result<Duration, OptionsError> {
    let Some(value) = value else { return Ok(Duration::from_secs(default)) };
    match value.trim().parse::<f64>() {
        Ok(seconds) if (0.0..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(OptionsError::Seconds { key, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_a_cluster_writes_are_understood() {
        let text = "port=node2\n\n# a comment\naction=off\nnodename=node2.example.com\nagent=fence_belay_demo\n\
                    state_dir=/run/a=b\ndelay=0.5\n";
        let options = Options::from_text(text).unwrap();
        assert_eq!((options.action, options.plug()), (Action::Off, Ok("node2")));
        assert_eq!(options.state_dir(), Ok(Path::new("/run/a=b")));
        assert_eq!((options.delay, options.power_timeout), (Duration::from_millis(500), Duration::from_secs(20)));
    }

    #[test]
    fn without_a_port_the_nodes_name_is_used_and_without_an_action_it_is_rebooted() {
        let options = Options::from_text("nodename=node2\n").unwrap();
        assert_eq!((options.action, options.plug()), (Action::Reboot, Ok("node2")));
        assert_eq!(options.state_dir(), Err(OptionsError::NoStateDir));
    }

    #[test]
    fn the_old_names_of_keys_work() {
        let options = Options::from_text("option=STATUS\nport=node1\n").unwrap();
        assert_eq!((options.action, options.plug()), (Action::Status, Ok("node1")));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (text, says) in [
            ("action=explode\n", "Unrecognised action 'explode'"),
            ("delay=soon\n", "delay='soon'"),
            ("power_timeout=-1\n", "power_timeout='-1'"),
            ("power_timeout=NaN\n", "power_timeout='NaN'"),
        ] {
            let refused = Options::from_text(text).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        assert_eq!(Options::from_text("action=off").unwrap().plug(), Err(OptionsError::NoPlug));
    }
}
