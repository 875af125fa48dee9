//! Guests that cost nothing: a boot sector that writes `UP` to the serial port and halts. The process is a real QEMU under
//! software emulation, idle at 0 % CPU; each `UP` in the shared file is one boot, so a migration is told from a restart.

use crate::keeper::BASE;
use anyhow::Result;
use std::fs;

/// Where the hosts see the shared storage.
pub const SHARED: &str = "/srv/vm";

/// `mov dx,3f8h`, then `U`, `P`, newline by `mov al,…; out dx,al`, then `cli` and `hlt` for ever.
const PROGRAM: &[u8] =
    &[0xba, 0xf8, 0x03, 0xb0, b'U', 0xee, 0xb0, b'P', 0xee, 0xb0, b'\n', 0xee, 0xfa, 0xf4, 0xeb, 0xfd];

/// Puts a guest's disk and its definition on the shared storage. Runs in the keeper's thread.
///
/// # Errors
/// When they cannot be written.
pub fn make(name: &str, number: usize) -> Result<()> {
    let shared = format!("{BASE}/shared");
    // As small as the BIOS accepts: a disk of less than a cylinder is found, and then cannot be read.
    let mut disk = vec![0_u8; 1 << 20];
    disk[..PROGRAM.len()].copy_from_slice(PROGRAM);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(format!("{shared}/{name}.img"), disk)?;
    fs::write(format!("{shared}/{name}.xml"), definition(name, number))?;
    Ok(())
}

/// How often a guest has booted, by what it wrote. Runs in the keeper's thread.
///
/// # Errors
/// When the file cannot be read.
pub fn boots(name: &str) -> Result<usize> {
    match fs::read_to_string(format!("{BASE}/shared/{name}.serial")) {
        Ok(text) => Ok(text.matches("UP").count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn definition(name: &str, number: usize) -> String {
    format!(
        "<domain type='qemu'>\n  <name>{name}</name>\n  <uuid>be1a0000-0000-4000-8000-{number:012x}</uuid>\n  \
         <memory unit='MiB'>32</memory>\n  <vcpu>1</vcpu>\n  \
         <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>\n  \
         <features><acpi/></features>\n  \
         <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n  <on_crash>destroy</on_crash>\n  \
         <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n    \
         <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n      \
         <source file='{SHARED}/{name}.img'/>\n      <target dev='vda' bus='virtio'/>\n      \
         <readonly/>\n      <shareable/>\n    </disk>\n    \
         <serial type='file'><source path='{SHARED}/{name}.serial' append='on'/></serial>\n    \
         <controller type='usb' model='none'/>\n    <memballoon model='none'/>\n    <audio id='1' type='none'/>\n  \
         </devices>\n</domain>\n"
    )
}
