//! What the documents show is true: configurations in them are accepted without a word.

#![allow(clippy::unwrap_used)]

use belay_demo::layout::Run;
use belay_demo::world;
use std::fs;
use std::path::{Path, PathBuf};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn findings(name: &str, text: &str) -> String {
    let reading = belay_config::read(name, text);
    assert!(reading.cluster.is_some() || !reading.diagnostics.is_empty());
    reading.render(false)
}

#[test]
fn the_configuration_in_the_readme_has_no_finding() {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let example = readme.split("```xml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(example.contains("fence_ipmilan"));
    assert_eq!(findings("README.md", example), "");
}

#[test]
fn the_demos_configuration_has_no_finding_and_holds_the_guides_line() {
    let folder = tempfile::Builder::new().prefix("belay-t").rand_bytes(4).tempdir().unwrap();
    let text = world::cluster_conf(&Run::at(folder.path()).unwrap());
    assert_eq!(findings("cluster.conf", &text), "");
    let vm = belay_config::read("cluster.conf", &text).cluster.unwrap().vms[&"vm:mytestVM".parse().unwrap()].clone();
    assert_eq!((vm.autostart, vm.max_restarts, vm.restart_expire_time.to_string()), (false, 2, "10m".to_owned()));
}
