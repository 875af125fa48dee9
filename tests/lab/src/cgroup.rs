//! Control groups: one subtree for each host.
//!
//! `systemd-nspawn` roots a container's control groups where it was started itself. Started from one place, three hosts
//! would share `/system.slice`, and each systemd would take the others' services for its own: units fail to start because
//! another host just removed their group, and which of them get killed is a matter of luck.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = "belay-lab-";

/// Makes a group for a host in each hierarchy that systemd uses, below this process's own.
///
/// # Errors
/// When there is none, or without root.
pub fn make(owner: i32, host: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for parent in own_groups()? {
        let group = parent.join(format!("{PREFIX}{owner}-{host}"));
        fs::create_dir_all(&group).with_context(|| format!("cannot make the control group {}", group.display()))?;
        groups.push(group);
    }
    Ok(groups)
}

/// Removes a host's groups. Its processes are dead, but the kernel may still be counting them out.
pub fn remove(groups: &[PathBuf]) {
    for group in groups {
        for _ in 0..50 {
            if remove_tree(group) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Removes the groups of labs that were killed.
///
/// # Errors
/// When the machine has no control groups.
pub fn sweep() -> Result<()> {
    for parent in own_groups()? {
        for entry in fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                remove_tree(&entry.path());
            }
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// This process's groups in systemd's own hierarchy and in the unified one, whichever the machine has.
fn own_groups() -> Result<Vec<PathBuf>> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups: Vec<PathBuf> = memberships.lines().filter_map(|line| own_group(line, &mounts)).collect();
    if groups.is_empty() {
        anyhow::bail!("this machine has no control groups that systemd could use");
    }
    Ok(groups)
}

/// `0::/path` is the unified hierarchy, `9:name=systemd:/path` the one of old.
fn own_group(membership: &str, mounts: &str) -> Option<PathBuf> {
    let mut parts = membership.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let here = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut words = right.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        let wanted = match controllers {
            "" => kind == "cgroup2",
            "name=systemd" => kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"),
            _ => false,
        };
        wanted.then(|| left.split(' ').nth(4)).flatten()
    })?;
    Some(Path::new(here).join(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_group_is_found_in_the_hierarchies_of_systemd_and_in_no_other() {
        let path = |membership| own_group(membership, MOUNTS);
        assert_eq!(path("9:name=systemd:/"), Some("/sys/fs/cgroup/systemd".into()));
        assert_eq!(path("0::/user.slice/a:b"), Some("/sys/fs/cgroup/unified/user.slice/a:b".into()));
        assert_eq!(path("7:blkio:/"), None);
    }
}
