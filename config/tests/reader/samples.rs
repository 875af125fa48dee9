//! Real files of RHCS users, compared with a careful reading of each. They are other people's files and no part of the
//! project: name their folder in `BELAY_CONF_SAMPLES` to run this.

use belay_config::{Reading, Severity, read_bytes};
use std::path::Path;

/// Files that the reading would let pass and Belay refuses, and why.
const STRICTER: [(&str, &str); 6] = [
    ("080-", "no members: nobody could start anything"),
    ("085-", "nodes without a nodeid: corosync cannot number them"),
    ("086-", "no members, and the elements of 2004"),
    ("099-", "nodes without a nodeid"),
    ("101-", "nodes without a nodeid"),
    ("102-", "no members"),
];

#[test]
fn real_files_are_judged_as_a_careful_reader_judged_them() {
    let Some(folder) = std::env::var_os("BELAY_CONF_SAMPLES") else {
        eprintln!("skipped: BELAY_CONF_SAMPLES does not name a folder of samples");
        return;
    };
    let folder = Path::new(&folder);
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let mut compared = 0;
    for line in index.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (file, verdict, why) = (fields[0], fields[4], fields[5]);
        let reading = read_bytes(file, &std::fs::read(folder.join(file)).unwrap());
        let stricter = STRICTER.iter().any(|(prefix, _)| file.starts_with(prefix));
        let refused = verdict == "invalid" || stricter;
        assert_eq!(reading.has_errors(), refused, "{file}: {verdict}, {why}\n{}", reading.render(false));
        compare(file, why, &reading);
        compared += 1;
    }
    assert!(compared >= 34, "only {compared} files were compared");
}

/// Each kind of remark of the careful reading has its finding.
fn compare(file: &str, why: &str, reading: &Reading) {
    for (remark, finding) in [
        ("duplicate nodeid", "is taken"),
        ("missing cluster name", "<cluster> has no name"),
        ("missing config_version", "has no config_version"),
        ("two_node set but expected_votes", "two_node is set, but expected_votes"),
        ("has no agent", "has no agent"),
        ("has no nodeid", "has no nodeid"),
        ("no cluster nodes", "has no members"),
        ("names unknown nodes", "is not a node"),
        ("unknown element <nodes>", "unknown element <nodes>"),
        ("unknown element <dependencies>", "unknown element <dependencies>"),
        ("have no fence device", "has no fence method"),
    ] {
        let found = reading.diagnostics.iter().any(|diagnostic| diagnostic.message.contains(finding));
        assert_eq!(why.contains(remark), found, "{file}: {remark}\n{}", reading.render(false));
    }
    let errors = reading.of(Severity::Error).count();
    assert!(errors <= 20, "{file}: {errors} errors");
}
