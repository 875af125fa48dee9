//! What an agent reads on its standard input: `key=value` lines, in the order the original fenced wrote them.

use belay_config::model::{Device, FenceDevice};
use std::time::Duration;

/// Nobody configures an agent to wait longer than this on purpose; more is a typing error that must not stop fencing.
const LONGEST_WAIT_SECONDS: f64 = 3600.0;

/// How long a power switch is given by agents unless told otherwise; the time limit has room for that much.
const USUAL_POWER_TIMEOUT_SECONDS: f64 = 20.0;

/// Why the lines cannot be written. Names the attribute, never its value, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputError {
    /// A line break would smuggle in another key.
    #[error("attribute {key} contains a line break or another control character: remove it in cluster.conf")]
    Control { key: String },
    /// A key that an agent would split elsewhere.
    #[error("attribute {key} cannot be passed to an agent: rename it in cluster.conf")]
    Key { key: String },
}

/// The keys and values for an agent: the device's own, the victim's name, then the fencedevice's. Where both name a key
/// the later one wins with most agents, as it did with fenced.
pub(super) fn arguments(
    device: &Device,
    fence_device: &FenceDevice,
    victim: &str,
) -> Result<Vec<(String, String)>, InputError> {
    let mut arguments = device.arguments.clone();
    if !arguments.iter().any(|(key, _)| key == "nodename") {
        arguments.push(("nodename".to_owned(), victim.to_owned()));
    }
    arguments.push(("agent".to_owned(), fence_device.agent.clone()));
    arguments.extend(fence_device.arguments.iter().cloned());
    for (key, value) in &arguments {
        if key.is_empty()
            || key.starts_with('#')
            || key.contains(|c: char| c == '=' || c.is_control() || c.is_whitespace())
        {
            return Err(InputError::Key { key: key.escape_debug().to_string() });
        }
        if value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(InputError::Control { key: key.clone() });
        }
    }
    Ok(arguments)
}

/// The lines themselves.
pub(super) fn text(arguments: &[(String, String)]) -> String {
    arguments.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// How much longer than usual the agent was told to take: `delay`, `power_wait`, and a `power_timeout` beyond the
/// usual. Without this, a device that is configured to be slow would be killed every time, for ever.
pub(super) fn told_to_wait(arguments: &[(String, String)]) -> Duration {
    let seconds = |name: &str| {
        let last = arguments.iter().rev().find(|(key, _)| key == name);
        last.and_then(|(_, value)| value.trim().parse::<f64>().ok()).filter(|s| s.is_finite() && *s > 0.0)
    };
    let power_timeout = seconds("power_timeout").map_or(0.0, |s| (s - USUAL_POWER_TIMEOUT_SECONDS).max(0.0));
    let sum = seconds("delay").unwrap_or(0.0) + seconds("power_wait").unwrap_or(0.0) + power_timeout;
    Duration::from_secs_f64(sum.min(LONGEST_WAIT_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn lines(device: &[(&str, &str)], fence_device: &[(&str, &str)]) -> Result<String, InputError> {
        let device = Device { fence_device: "apc".to_owned(), arguments: pairs(device) };
        let fence_device =
            FenceDevice { name: "apc".to_owned(), agent: "fence_apc".to_owned(), arguments: pairs(fence_device) };
        arguments(&device, &fence_device, "node2.example.com").map(|arguments| text(&arguments))
    }

    #[test]
    fn the_devices_own_come_first_then_the_victim_then_the_fencedevices() {
        let text = lines(&[("port", "3"), ("action", "off")], &[("ipaddr", "10.0.0.9"), ("passwd", "a=b c")]);
        insta::assert_snapshot!(text.unwrap(), @r"
        port=3
        action=off
        nodename=node2.example.com
        agent=fence_apc
        ipaddr=10.0.0.9
        passwd=a=b c
        ");
    }

    #[test]
    fn a_nodename_in_the_device_is_not_overridden() {
        assert_eq!(lines(&[("nodename", "bmc2")], &[]).unwrap(), "nodename=bmc2\nagent=fence_apc\n");
    }

    #[test]
    fn a_line_break_in_a_value_is_refused_without_showing_the_value() {
        for value in ["secret\naction=on", "secret\r", "secret\0"] {
            let refused = lines(&[], &[("passwd", value)]).unwrap_err().to_string();
            assert!(refused.contains("passwd") && !refused.contains("secret"), "{refused}");
        }
        assert!(lines(&[("a\nb", "1")], &[]).is_err());
        assert!(lines(&[("a=b", "1")], &[]).is_err());
    }

    #[test]
    fn an_agent_gets_the_time_it_is_told_to_wait_on_top() {
        let wait = |arguments: &[(&str, &str)]| told_to_wait(&pairs(arguments)).as_secs();
        assert_eq!(wait(&[("port", "1")]), 0);
        assert_eq!(wait(&[("delay", "15"), ("power_wait", "2.5")]), 17);
        assert_eq!(wait(&[("delay", "15"), ("delay", "3")]), 3);
        assert_eq!(wait(&[("power_timeout", "20")]), 0);
        assert_eq!(wait(&[("power_timeout", "90")]), 70);
        assert_eq!(wait(&[("delay", "1e12")]), 3600);
        for nonsense in ["", "-4", "soon", "inf", "NaN"] {
            assert_eq!(wait(&[("delay", nonsense)]), 0, "{nonsense}");
        }
    }
}
