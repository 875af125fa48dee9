//! A host's disk: this machine's own file system below, an upper layer on the lab's tmpfs, and in it what makes the
//! host a host of its own: its name, address, corosync, libvirtd, and none of this machine's services.

use crate::keeper::BASE;
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The lab's network; the BMCs and this machine's end have `.1`, hosts begin at `.11`.
pub const NETWORK: &str = "10.77.0";

/// What a service of this machine may have left that a host must not begin with.
const NOT_INHERITED: &[&str] = &[
    "etc/cluster",
    "etc/libvirt/qemu",
    "etc/resolv.conf",
    "etc/systemd/network",
    "var/lib/belay",
    "var/lib/corosync",
    "var/log/journal",
];
const SERVICES: &[&str] = &["systemd-networkd.service", "corosync.service"];
const SOCKETS: &[&str] = &["libvirtd.socket", "libvirtd-ro.socket", "libvirtd-tcp.socket", "virtlogd.socket"];

/// The address of the host with this number, counted from 0.
#[must_use]
pub fn address(number: usize) -> String {
    format!("{NETWORK}.{}", 11 + number)
}

/// Makes the disk of one of `hosts`. Runs in the keeper's thread, whose mounts nobody else sees.
///
/// # Errors
/// When the overlay cannot be mounted or written.
pub fn make(hosts: &[String], number: usize) -> Result<()> {
    let name = &hosts[number];
    let disk = format!("{BASE}/{name}");
    for folder in ["upper", "work", "root"] {
        fs::create_dir_all(format!("{disk}/{folder}"))?;
    }
    let layers = format!("lowerdir=/,upperdir={disk}/upper,workdir={disk}/work");
    let root = format!("{disk}/root");
    mount(Some("overlay"), root.as_str(), Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .with_context(|| format!("cannot mount the overlay of {name}"))?;
    let root = Path::new(&root);
    forget_this_machine(root)?;
    write_identity(root, hosts, number)?;
    write_corosync(root, hosts)?;
    write_libvirt(root)?;
    for service in SERVICES {
        enable(root, service, "multi-user.target")?;
    }
    for socket in SOCKETS {
        enable(root, socket, "sockets.target")?;
    }
    Ok(())
}

/// Enables a unit without its `[Install]` section: here it is the lab that wants it.
fn enable(root: &Path, unit: &str, target: &str) -> Result<()> {
    let wants = root.join(format!("etc/systemd/system/{target}.wants"));
    fs::create_dir_all(&wants)?;
    symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit)).with_context(|| format!("cannot enable {unit}"))
}

/// Enabled services go by their links, not by a list of names: nobody knows what a test machine has installed.
fn forget_this_machine(root: &Path) -> Result<()> {
    for path in NOT_INHERITED {
        remove(&root.join(path))?;
    }
    for entry in fs::read_dir(root.join("etc/systemd/system"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wants") || name.ends_with(".requires") || name.starts_with("belay") {
            remove(&entry.path())?;
        }
    }
    for level in ["rc0.d", "rc1.d", "rc2.d", "rc3.d", "rc4.d", "rc5.d", "rc6.d", "rcS.d"] {
        remove(&root.join("etc").join(level))?;
    }
    for folder in ["var/lib/corosync", "var/log/journal", "etc/systemd/network", "etc/cluster"] {
        fs::create_dir_all(root.join(folder))?;
    }
    put(root, "etc/fstab", "")
}

fn write_identity(root: &Path, hosts: &[String], number: usize) -> Result<()> {
    let mut names = "127.0.0.1 localhost\n".to_owned();
    for (other, name) in hosts.iter().enumerate() {
        writeln!(names, "{} {name}", address(other))?;
    }
    put(root, "etc/hosts", &names)?;
    put(root, "etc/hostname", &format!("{}\n", hosts[number]))?;
    put(root, "etc/machine-id", &format!("{:032x}\n", 0xbe1a_0000_u64 + number as u64 + 1))?;
    // Without a carrier the address stays, as on a host whose switch died: the daemons must cope, not networkd.
    let card = format!(
        "[Match]\nName=host0\n[Network]\nAddress={}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
         ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n",
        address(number)
    );
    put(root, "etc/systemd/network/10-host0.network", &card)?;
    // A test that fails shows the journal, so none of it may be dropped, and a power cut must leave most of it.
    let journal = "[Journal]\nStorage=persistent\nRateLimitBurst=0\nSyncIntervalSec=1s\n";
    put(root, "etc/systemd/journald.conf", journal)
}

/// Token 1000 and coefficient 0: a dead host is known after 2.1 s. Each `{` has to end its line.
fn write_corosync(root: &Path, hosts: &[String]) -> Result<()> {
    let mut text = "totem {\n  version: 2\n  cluster_name: lab\n  transport: knet\n  token: 1000\n  \
        token_coefficient: 0\n  crypto_cipher: none\n  crypto_hash: none\n}\n\
        logging {\n  to_syslog: yes\n  to_stderr: no\n}\n\
        quorum {\n  provider: corosync_votequorum\n}\nnodelist {\n"
        .to_owned();
    for (number, name) in hosts.iter().enumerate() {
        let (address, id) = (address(number), number + 1);
        write!(text, "  node {{\n    ring0_addr: {address}\n    name: {name}\n    nodeid: {id}\n  }}\n")?;
    }
    text.push_str("}\n");
    put(root, "etc/corosync/corosync.conf", &text)
}

fn write_libvirt(root: &Path) -> Result<()> {
    let qemu = "cgroup_controllers = [ ]\nsecurity_driver = \"none\"\nuser = \"root\"\ngroup = \"root\"\n";
    put(root, "etc/libvirt/qemu.conf", qemu)?;
    // All hosts have this machine's hardware id, and libvirt refuses to migrate a domain to the host it is on.
    let daemon = "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nauth_tcp = \"none\"\n\
        host_uuid_source = \"machine-id\"\n";
    put(root, "etc/libvirt/libvirtd.conf", daemon)
}

/// Writes a file of a host's disk.
///
/// # Errors
/// When it cannot be written.
pub fn put(root: &Path, path: &str, text: &str) -> Result<()> {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}
