//! The command line of `belayd`.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Keeps libvirt virtual machines running on a cluster of hosts.
///
/// One belayd runs on every host. Together they restart a VM that dies, fence a host that is lost, and start its VMs
/// elsewhere; a VM never runs in two places. They need corosync for membership and quorum, libvirtd on each host, and one
/// fence device for each host, all named in cluster.conf.
///
/// Stopping belayd leaves its VMs running (see --on-stop); started again, it takes them over as they are.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "belayd",
    version,
    after_help = "Signals: HUP reads cluster.conf again, TERM leaves the cluster.\n\
    Look at it with: clustat, belay status, belay events --follow, journalctl -u belayd"
)]
pub struct Settings {
    /// The cluster's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/cluster/cluster.conf")]
    pub config: PathBuf,
    /// This host's name in the configuration [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// What connects the members.
    #[arg(long, value_enum, default_value_t = RingKind::Corosync)]
    pub ring: RingKind,
    /// The directory that members of a local ring share.
    #[arg(long, value_name = "DIR", default_value = "/run/belay/ring")]
    pub ring_dir: PathBuf,
    /// How long a member of a local ring may be silent before it is removed.
    #[arg(long, value_name = "SPAN", default_value = "1s")]
    pub ring_token: belay_proto::Span,
    /// Where this host keeps what it has acknowledged.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/belay")]
    pub state_dir: PathBuf,
    /// Where commands connect.
    #[arg(long, value_name = "PATH", default_value = belay_proto::control::DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// The hypervisor of VMs that do not name one.
    #[arg(long, value_name = "URI", default_value = "qemu:///system")]
    pub hypervisor: String,
    /// The libvirt agent.
    #[arg(long, value_name = "PATH", default_value = "/usr/libexec/belay/belay-agent-libvirt")]
    pub agent: PathBuf,
    /// This life of the host, where it is not that of the machine [default: /proc/sys/kernel/random/boot_id].
    #[arg(long, value_name = "ID")]
    pub boot_id: Option<String>,
    /// How long a fence agent may take, on top of the delay and power_wait it is told, before it is killed.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    pub fence_timeout: belay_proto::Span,
    /// What becomes of this host's VMs when belayd is told to stop.
    #[arg(long, value_enum, default_value_t = OnStop::Leave)]
    pub on_stop: OnStop,
    /// How long stopping may take before belayd gives up waiting and ends.
    #[arg(long, value_name = "SPAN", default_value = "5m")]
    pub stop_timeout: belay_proto::Span,
    /// Where messages go [default: the journal under systemd, otherwise stderr].
    #[arg(long, value_enum)]
    pub log: Option<LogTo>,
}

/// The rings there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RingKind {
    /// Several hosts, through corosync.
    Corosync,
    /// Several daemons on this machine, or just one, without corosync.
    Local,
}

/// What becomes of VMs when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnStop {
    /// They keep running, without supervision until belayd is back. An upgrade needs no more.
    Leave,
    /// They are stopped here and started on other members.
    Stop,
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogTo {
    /// The systemd journal, with BELAY_ fields.
    Journal,
    /// Standard error.
    Stderr,
}
