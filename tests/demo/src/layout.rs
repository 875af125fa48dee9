//! Where everything of a run lies: one folder, with one folder for each host in it.
//!
//! ```text
//! RUN/                     short, under /tmp: QEMU's monitor sockets have 107 bytes for their whole path
//!   ring/                  where the daemons of the local ring meet
//!   bin/                   the programs under the names that people call them by
//!   shared/                plays the shared storage: disk, definitions (xml_defs/), what the guests' consoles say
//!   node1/ node2/ node3/
//!     pid power            the supervisor, and the switch that the fence agent throws (on, off)
//!     cluster.conf control.sock belayd.log
//!     options stopped      further options for its daemon; while `stopped` is there, the daemon is not started again
//!     lib/                 belayd's store
//!     libvirt/             this host's own libvirt world
//! ```

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Every process of a host but its VMs carries this variable, with the host's folder as its value. The fence agent
/// and the search for leftovers find them by it.
pub const HOST_VARIABLE: &str = "BELAY_DEMO_HOST";

/// How many hosts there are.
pub const HOSTS: u32 = 3;

/// The longest run folder with which the path of a VM's monitor socket,
/// `/node1/libvirt/lib/qemu/domain-1234-<20 characters>/monitor.sock`, still fits into a socket address.
const LONGEST_RUN: usize = 107 - 68;

/// One run's folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// The folder.
    pub dir: PathBuf,
}

/// One host's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its number in the cluster, from 1.
    pub id: u32,
    /// Its name in the cluster.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
}

impl Run {
    /// A run in a folder that exists.
    ///
    /// # Errors
    /// When the path is too long for the sockets that QEMU puts below it.
    pub fn at(dir: &Path) -> Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
        if dir.as_os_str().len() > LONGEST_RUN {
            bail!("{} is too long a path for QEMU's sockets: set TMPDIR to a short one, such as /tmp", dir.display());
        }
        Ok(Self { dir })
    }

    /// All hosts, by number.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        (1..=HOSTS).map(|id| self.host(id)).collect()
    }

    /// One host.
    #[must_use]
    pub fn host(&self, id: u32) -> Host {
        let name = format!("node{id}");
        let dir = self.dir.join(&name);
        Host { id, name, dir }
    }

    /// Where the daemons meet.
    #[must_use]
    pub fn ring(&self) -> PathBuf {
        self.dir.join("ring")
    }

    /// The commands under their names.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// The VMs' definitions.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.dir.join("shared/xml_defs")
    }

    /// The disk all VMs boot from.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.dir.join("shared/boot.img")
    }

    /// What a VM's guest writes to its serial port.
    #[must_use]
    pub fn console(&self, vm: &str) -> PathBuf {
        self.dir.join("shared/consoles").join(format!("{vm}.log"))
    }
}

impl Host {
    /// The configuration it reads.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("cluster.conf")
    }

    /// Its daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Its daemon's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("belayd.log")
    }

    /// Further options for its daemon, one a line. Mostly there is no such file.
    #[must_use]
    pub fn options(&self) -> PathBuf {
        self.dir.join("options")
    }

    /// While this file is there the daemon is not started again once it has ended, as after `systemctl stop`.
    #[must_use]
    pub fn stopped(&self) -> PathBuf {
        self.dir.join("stopped")
    }

    /// Its libvirt world.
    #[must_use]
    pub fn libvirt(&self) -> PathBuf {
        self.dir.join("libvirt")
    }

    /// Its daemon's store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// The switch: `on` or `off`.
    #[must_use]
    pub fn power(&self) -> PathBuf {
        self.dir.join("power")
    }

    /// Its supervisor's process id.
    #[must_use]
    pub fn pid(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The hypervisor's URI.
    #[must_use]
    pub fn hypervisor(&self) -> String {
        format!("qemu:///embed?root={}", self.libvirt().display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_too_deep_for_qemus_sockets_is_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(60));
        std::fs::create_dir(&deep).unwrap();
        assert!(Run::at(&deep).unwrap_err().to_string().contains("TMPDIR"));
        assert!(Run::at(folder.path()).is_ok());
    }
}
