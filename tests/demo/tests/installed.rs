//! What `make install` puts in place, and whether systemd agrees with the unit.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Installs programs that do nothing: what they do is tested elsewhere.
fn install(folder: &Path, destdir: &str, prefix: &Path) {
    let built = folder.join("target/debug");
    fs::create_dir_all(&built).unwrap();
    for program in ["belayd", "belay", "belay-agent-libvirt"] {
        fs::write(built.join(program), "#!/bin/sh\n").unwrap();
        fs::set_permissions(built.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("make")
        .args(["--silent", "install", "PROFILE=debug", &format!("DESTDIR={destdir}")])
        .arg(format!("PREFIX={}", prefix.display()))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        // The make that runs this test has settings of its own.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn verify(unit: &Path) -> (bool, String) {
    let Output { status, stderr, .. } =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().unwrap();
    // Other units of this machine are looked at as well; their faults are not ours.
    let text = String::from_utf8_lossy(&stderr);
    (status.success(), text.lines().filter(|line| line.contains("belayd.service")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_package_gets_every_file_below_its_prefix_with_the_paths_it_will_have() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    install(folder.path(), root.to_str().unwrap(), Path::new("/usr"));
    for file in [
        "sbin/belayd",
        "bin/belay",
        "libexec/belay/belay-agent-libvirt",
        "lib/systemd/system/belayd.service",
        "lib/sysusers.d/belay.conf",
        "lib/tmpfiles.d/belay.conf",
        "share/doc/belay/README.md",
        "share/doc/belay/docs/decisions/002-licences.md",
    ] {
        assert!(root.join("usr").join(file).is_file(), "{file}");
    }
    for command in ["clustat", "clusvcadm"] {
        assert_eq!(fs::read_link(root.join("usr/sbin").join(command)).unwrap(), Path::new("/usr/bin/belay"));
    }
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/belayd.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/sbin/belayd --agent /usr/libexec/belay/belay-agent-libvirt"), "{unit}");
    assert!(!unit.contains('@'), "{unit}");
}

#[test]
fn systemd_finds_nothing_to_object_to_in_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("usr");
    install(folder.path(), "/", &prefix);
    let unit = prefix.join("lib/systemd/system/belayd.service");
    assert_eq!(verify(&unit), (true, String::new()));

    // That the check can fail at all:
    let text = fs::read_to_string(&unit).unwrap();
    fs::write(&unit, text.replace("WatchdogSec=", "WatchdogSecs=")).unwrap();
    assert!(verify(&unit).1.contains("WatchdogSecs"));
}
