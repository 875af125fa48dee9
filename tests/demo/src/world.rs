//! What the three hosts share and read: the configuration as the guide writes it, the VMs' definitions on "shared
//! storage", the disk they boot from, and libvirt's settings for a host that is a folder.

use crate::layout::{Host, Run};
use crate::reaper::Reaper;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The VM of the guide: not started by itself, restarted twice in ten minutes, then sent elsewhere.
pub const GUIDE_VM: &str = "mytestVM";

/// All VMs by name.
pub const VMS: [&str; 5] = ["db1", "mail1", GUIDE_VM, "web1", "web2"];

/// How many bytes a guest writes to its console when it is up: `UP` and the end of the line.
pub const GREETING_BYTES: u64 = 4;

/// The commands that people call by name, and what is behind each.
const PROGRAMS: [(&str, &str); 6] = [
    ("belay", "belay"),
    ("clustat", "belay"),
    ("clusvcadm", "belay"),
    ("belayd", "belayd"),
    ("belay-agent-libvirt", "belay-agent-libvirt"),
    ("fence_belay_demo", "fence_belay_demo"),
];

/// The whole guest, in real mode code at 0000:7c00: it says that it is up, sleeps without a tick of the timer, and
/// powers itself off when it is asked to shut down (the ACPI power button), as a real guest would.
#[rustfmt::skip]
const BOOT_CODE: [u8; 62] = [
    0xfa,                                   // cli
    0x31, 0xc0, 0x8e, 0xd8,                 // ds = 0
    0xc7, 0x06, 0xc4, 0x01, 0x34, 0x7c,     // interrupt 0x71, which is line 9, the ACPI one: go to power_off
    0xa3, 0xc6, 0x01,
    0xb0, 0xf1, 0xe6, 0xb2,                 // out 0xb2, 0xf1: ACPI on
    0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, // out 0x602, 0x100: the power button is to raise an event
    0xb0, 0xfb, 0xe6, 0x21,                 // out 0x21, 0xfb: only the second interrupt controller,
    0xb0, 0xfd, 0xe6, 0xa1,                 // out 0xa1, 0xfd: and of that only line 9
    0xba, 0xf8, 0x03,                       // to COM1:
    0xb0, b'U', 0xee, 0xb0, b'P', 0xee, 0xb0, b'\r', 0xee, 0xb0, b'\n', 0xee,
    0xfb, 0xf4, 0xeb, 0xfc,                 // sti; hlt, for ever
    // power_off:
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // out 0x604, 0x2000: state S5
    0xf4, 0xeb, 0xfd,                       // hlt, for ever
];

/// How long libvirt may take to find out what QEMU can do.
const PROBE_LIMIT: Duration = Duration::from_secs(120);

/// The disk's size. The BIOS does not boot from a virtio disk of a single sector.
const DISK_BYTES: usize = 1024 * 1024;

/// Writes everything the hosts need before they are powered on.
///
/// # Errors
/// When a program is missing or a file cannot be written.
pub fn build(run: &Run, programs: &Path, cache: &Path, reaper: &Reaper) -> Result<()> {
    for folder in [run.ring(), run.bin(), run.definitions(), run.dir.join("shared/consoles")] {
        fs::create_dir_all(folder)?;
    }
    for (name, program) in PROGRAMS {
        let program = programs.join(program);
        if !program.is_file() {
            bail!("{} is missing: build everything first, with `make demo` or `cargo build`", program.display());
        }
        std::os::unix::fs::symlink(program, run.bin().join(name))?;
    }
    fs::write(run.disk(), disk())?;
    for vm in VMS {
        fs::write(run.definitions().join(format!("{vm}.xml")), definition(run, vm))?;
    }
    for host in run.hosts() {
        fs::create_dir_all(host.store())?;
        fs::create_dir_all(host.libvirt().join("etc"))?;
        fs::write(host.libvirt().join("etc/qemu.conf"), qemu_conf())?;
        fs::write(host.config(), cluster_conf(run))?;
    }
    know_qemu(run, cache, reaper)
}

/// libvirt's settings for a host without a libvirtd: nobody to confine, no cgroups of its own, and consoles written
/// by QEMU itself, since the daemon that usually does it (virtlogd) does not run.
fn qemu_conf() -> String {
    let mut text = String::from("security_driver = \"none\"\ncgroup_controllers = [ ]\nstdio_handler = \"file\"\n");
    // It would note on the shared files whose they were, and wonder about that after a power cut.
    text += "remember_owner = 0\n";
    // Root's VMs would run as another user, who cannot read the run's folder. Without root libvirt has no choice, and
    // fails when it is told to make one.
    if nix::unistd::geteuid().is_root() {
        text += "user = \"root\"\ngroup = \"root\"\n";
    }
    text
}

fn disk() -> Vec<u8> {
    let mut disk = BOOT_CODE.to_vec();
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(DISK_BYTES, 0);
    disk
}

/// The configuration, the same on all hosts, in the shape of the guide.
#[must_use]
pub fn cluster_conf(run: &Run) -> String {
    let path = format!("{}/", run.definitions().display());
    let mut text =
        String::from("<?xml version=\"1.0\"?>\n<cluster alias=\"Demo\" config_version=\"1\" name=\"demo\">\n");
    text += "  <clusternodes>\n";
    for host in run.hosts() {
        let _ = write!(
            text,
            "    <clusternode name=\"{name}\" nodeid=\"{id}\" votes=\"1\">\n      <fence>\n        <method name=\"power\">\n          \
             <device name=\"switch\" port=\"{name}\"/>\n        </method>\n      </fence>\n    </clusternode>\n",
            name = host.name,
            id = host.id
        );
    }
    text += "  </clusternodes>\n  <fencedevices>\n";
    let _ = writeln!(
        text,
        "    <fencedevice name=\"switch\" agent=\"fence_belay_demo\" state_dir=\"{}\"/>",
        run.dir.display()
    );
    text += "  </fencedevices>\n  <rm>\n";
    for vm in VMS {
        let _ = if vm == GUIDE_VM {
            writeln!(
                text,
                "    <vm name=\"{vm}\" path=\"{path}\" autostart=\"0\" exclusive=\"0\" recovery=\"restart\" \
                 max_restarts=\"2\" restart_expire_time=\"600\"/>"
            )
        } else {
            writeln!(text, "    <vm name=\"{vm}\" path=\"{path}\" recovery=\"restart\"/>")
        };
    }
    text + "  </rm>\n</cluster>\n"
}

/// A VM that costs next to nothing: 32 MiB, and no CPU once it is up.
fn definition(run: &Run, vm: &str) -> String {
    format!(
        "<domain type='qemu'>
  <name>{vm}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
  </features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
      <shareable/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='{console}' append='on'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
",
        disk = run.disk().display(),
        console = run.console(vm).display()
    )
}

/// Spares each host libvirt's first look at the QEMU program, which takes a second or more: the result is kept in
/// `cache` from run to run, and libvirt itself notices when it is out of date.
fn know_qemu(run: &Run, cache: &Path, reaper: &Reaper) -> Result<()> {
    if !cache.is_dir() {
        let root = run.dir.join("probe");
        fs::create_dir_all(root.join("etc"))?;
        fs::write(root.join("etc/qemu.conf"), qemu_conf())?;
        let mut command = Command::new("virsh");
        command.args(["--connect", &format!("qemu:///embed?root={}", root.display())]);
        command.args(["domcapabilities", "--virttype", "qemu"]);
        let printed = reaper.run(&mut command, PROBE_LIMIT).context("package libvirt-clients")?;
        if !printed.ok() {
            bail!("libvirt cannot use QEMU here: {}", printed.text.trim());
        }
        copy_folder(&root.join("cache"), cache)?;
        fs::remove_dir_all(root)?;
    }
    for host in run.hosts() {
        copy_folder(cache, &cache_of(&host))?;
    }
    Ok(())
}

fn cache_of(host: &Host) -> std::path::PathBuf {
    host.libvirt().join("cache")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
