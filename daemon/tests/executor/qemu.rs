//! Real VMs for tests: a private QEMU driver in a folder of its own, and what the process table says of it.

#![allow(missing_docs, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Folders of tests begin like this, followed by the pid of the test and a number. Short, because libvirt puts sockets
/// below them, whose paths must not be longer than 107 bytes.
const PREFIX: &str = "belay-vmx-";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder with a hypervisor's files. Its VMs end with it.
pub struct Root(PathBuf);

impl Root {
    /// A new one. What a killed earlier test left running is ended first.
    pub fn new() -> Self {
        sweep();
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        let etc = path.join("lv/etc");
        fs::create_dir_all(&etc).unwrap();
        // Without virtlogd, cgroups and security drivers, which belong to an installed libvirtd.
        let conf = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\ncgroup_controllers = [ ]\nremember_owner = 0\n\
                    user = \"root\"\ngroup = \"root\"\n";
        fs::write(etc.join("qemu.conf"), conf).unwrap();
        Self(path)
    }

    pub fn uri(&self) -> String {
        format!("qemu:///embed?root={}", self.0.join("lv").display())
    }

    /// Writes the definition of a VM that costs next to nothing: a boot sector that halts.
    pub fn define(&self, name: &str) -> String {
        let disk = self.0.join("disk.img");
        // cli; hlt; jmp back to hlt
        let mut sector = vec![0xfa, 0xf4, 0xeb, 0xfd];
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        fs::write(&disk, sector).unwrap();
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64'>hvm</type></os><features><acpi/></features><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>\
             <target dev='vda' bus='virtio'/><readonly/><shareable/></disk>\
             <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
            disk.display()
        );
        self.write(name, &xml)
    }

    /// Writes a definition; gives its path.
    pub fn write(&self, name: &str, xml: &str) -> String {
        let path = self.0.join(format!("{name}.xml"));
        fs::write(&path, xml).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The emulators that run a VM of this folder.
    pub fn emulators(&self) -> Vec<i32> {
        processes(|name, line| is_emulator(name) && self.has(line) && line.contains("guest="))
    }

    /// Also those that libvirt starts without a VM, to learn what the emulator can do.
    fn all_emulators(&self) -> Vec<i32> {
        processes(|name, line| is_emulator(name) && self.has(line))
    }

    fn has(&self, line: &str) -> bool {
        line.contains(&format!("{}/", self.0.display()))
    }

    /// The agents that serve it.
    pub fn agents(&self) -> Vec<i32> {
        let uri = self.uri();
        processes(|name, line| name.starts_with("belay-agent") && line.split('\0').any(|word| word == uri))
    }

    /// The one agent, once there is one.
    pub async fn agent(&self) -> i32 {
        let until = Instant::now() + crate::executor::PATIENCE;
        loop {
            if let [agent] = self.agents()[..] {
                return agent;
            }
            assert!(Instant::now() < until, "agents: {:?}", self.agents());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Agents first: one that lives could start another emulator.
        for pid in self.agents().into_iter().chain(self.all_emulators()) {
            kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends what belongs to folders whose test is gone.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            drop(Root(entry.path()));
        }
    }
}

fn is_emulator(name: &str) -> bool {
    name.starts_with("qemu-system")
}

/// Processes by their name and their arguments, which NULs separate.
fn processes(wanted: impl Fn(&str, &str) -> bool) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (name, line) = (read("comm"), read("cmdline"));
        wanted(&String::from_utf8_lossy(&name), &String::from_utf8_lossy(&line))
    })
    .collect()
}

pub fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    // It may be gone already.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// The real agent's program: `BELAY_AGENT`, or the one built beside this test.
pub fn agent_program() -> PathBuf {
    if let Some(path) = std::env::var_os("BELAY_AGENT") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("belay-agent-libvirt");
    assert!(
        built.exists(),
        "{} is missing: build it with 'cargo build -p belay-agent-libvirt', or name one in BELAY_AGENT",
        built.display()
    );
    built
}
