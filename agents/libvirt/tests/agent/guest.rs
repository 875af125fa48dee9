//! Guests that cost nothing: a boot sector each, 32 MiB of memory, no CPU when idle.

use std::path::{Path, PathBuf};

/// What a guest does after its start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guest {
    /// Stands still, deaf to everything.
    Idle,
    /// Waits for its power button, and powers itself off.
    Obedient,
    /// Powers itself off after about two seconds.
    PowersOff,
    /// Resets itself after about two seconds, over and over.
    Reboots,
    /// Writes to its disk after about a second, over and over.
    Writes,
}

impl Guest {
    fn program(self) -> Vec<u8> {
        // cli; ax = 0; ds = ss = 0; sp = 0x7c00
        let mut code = vec![0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c];
        for letter in b"UP\n" {
            // dx = COM1; al = letter; out dx, al
            code.extend([0xba, 0xf8, 0x03, 0xb0, *letter, 0xee]);
        }
        // sti; cx = ticks of 55 ms; hlt; loop
        let wait = |ticks: u8| [0xfb, 0xb9, ticks, 0x00, 0xf4, 0xe2, 0xfd];
        // dx = 0x604, the PIIX4's PM1 control; ax = 0x2000, "sleep S5"; out dx, ax
        let power_off = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef];
        match self {
            Self::Idle => {}
            Self::PowersOff => {
                code.extend(wait(40));
                code.extend(power_off);
            }
            Self::Reboots => {
                code.extend(wait(40));
                // al = 0xfe; out 0x64, al: the keyboard controller pulses the reset line
                code.extend([0xb0, 0xfe, 0xe6, 0x64]);
            }
            Self::Obedient => {
                // Enables the power button (bit 8 of 0x602), and looks at each tick for its status (bit 8 of 0x600).
                code.extend([0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, 0xfb]);
                code.extend([0xf4, 0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf6]);
                code.extend(power_off);
            }
            Self::Writes => {
                let top = code.len();
                code.extend(wait(20));
                // ah = 3 (write), al = 64 sectors; cylinder 0, sector 2; head 0, drive 0x80; from 0:0x8000; int 0x13
                code.extend([0xb8, 0x40, 0x03, 0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xbb, 0x00, 0x80, 0xcd, 0x13]);
                let back = i8::try_from(top as isize - code.len() as isize - 2).expect("a short program");
                code.extend([0xeb, back as u8]);
            }
        }
        // cli; hlt; and once more if something woke it
        code.extend([0xfa, 0xf4, 0xeb, 0xfc]);
        code
    }

    /// Writes the guest's disk into `dir`.
    pub(crate) fn disk(self, dir: &Path) -> PathBuf {
        let mut sector = self.program();
        assert!(sector.len() <= 510, "a boot sector");
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        // SeaBIOS does not boot from a disk that is smaller than a cylinder (504 KiB).
        sector.resize(1024 * 1024, 0);
        let path = dir.join(format!("{self:?}.img"));
        std::fs::write(&path, sector).expect("a disk can be written");
        path
    }
}

/// A definition of `name`, whose UUID is made from its name. `disk` is shared by all guests of a kind, so it is read-only.
pub(crate) fn definition(name: &str, disk: &Path) -> String {
    with_disk(name, disk, "<readonly/><shareable/>")
}

pub(crate) fn with_disk(name: &str, disk: &Path, options: &str) -> String {
    format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <uuid>{}</uuid>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file'>
      <driver name='qemu' type='raw'/>
      <source file='{}'/>
      <target dev='vda' bus='virtio'/>
      {options}
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>",
        uuid(name),
        disk.display()
    )
}

pub(crate) fn uuid(name: &str) -> String {
    let sum = name.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("be1a0000-0000-4000-8000-{:012x}", sum & 0xffff_ffff_ffff)
}
