//! What the reader says about a `cluster.conf`, rule by rule.

#[cfg(test)]
mod accepted;
#[cfg(test)]
mod depend;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod members;
#[cfg(test)]
mod not_xml;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rendering;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod unknown;
#[cfg(test)]
mod vms;
#[cfg(test)]
mod written;

use belay_config::{Cluster, read};

/// A sound cluster of three, with a place for more.
const SOUND: &str = r#"<cluster name="alpha" config_version="7">
<clusternodes>
<clusternode name="n1" nodeid="1"><fence><method name="1"><device name="bmc" port="1"/></method></fence></clusternode>
<clusternode name="n2" nodeid="2"><fence><method name="1"><device name="bmc" port="2"/></method></fence></clusternode>
<clusternode name="n3" nodeid="3"><fence><method name="1"><device name="bmc" port="3"/></method></fence></clusternode>
</clusternodes>
<fencedevices><fencedevice name="bmc" agent="fence_ipmilan" ipaddr="10.0.0.1" passwd="s3cret"/></fencedevices>
MORE
</cluster>
"#;

/// The sound cluster with something more in it, which begins in line 8.
fn with(more: &str) -> String {
    SOUND.replace("MORE", more)
}

/// The sound cluster with these elements in its `rm`.
fn with_rm(inner: &str) -> String {
    with(&format!("<rm>{inner}</rm>"))
}

/// The findings, each as `line:column: severity: message`.
fn found(text: &str) -> Vec<String> {
    read("f", text).diagnostics.iter().map(|finding| finding.to_string()["f:".len()..].to_owned()).collect()
}

/// The findings without their places.
fn said(text: &str) -> Vec<String> {
    read("f", text).diagnostics.iter().map(|finding| format!("{}: {}", finding.severity, finding.message)).collect()
}

/// The model of a text that must be usable.
#[cfg(test)]
fn model(text: &str) -> Cluster {
    let reading = read("f", text);
    match reading.cluster {
        Some(ref cluster) => Cluster::clone(cluster),
        None => panic!("{}", reading.render(false)),
    }
}
