//! The names of `cluster.conf`: which of them the reader reads, and which only RHCS acted on.

/// What may be in one element.
pub(super) struct Rule {
    /// The element.
    pub(super) name: &'static str,
    /// Attributes that a part of the reader reads.
    pub(super) read: &'static [&'static str],
    /// Attributes that are known and need no word: they never had an effect.
    pub(super) quiet: &'static [&'static str],
    /// Attributes that had an effect, and what does that now.
    pub(super) unused: &'static [(&'static str, &'static str)],
    /// Every attribute is welcome: it goes to a fence agent.
    pub(super) any_attribute: bool,
    /// Child elements that a part of the reader reads.
    pub(super) children: &'static [&'static str],
    /// Child elements that had an effect, and what does that now.
    pub(super) unused_children: &'static [(&'static str, &'static str)],
}

const PLAIN: Rule =
    Rule { name: "", read: &[], quiet: &[], unused: &[], any_attribute: false, children: &[], unused_children: &[] };

const COROSYNC: &str = "set it in corosync.conf, which configures the network";
const EVENTS: &str = "Belay acts on events as they happen and does not poll";
const JOURNAL: &str = "Belay logs to the journal";
const DLM: &str = "set it in dlm.conf, which configures the lock manager";
const TIMEOUTS: &str = "Belay enforces the time limits of every action";

/// Every element with parts that are read.
pub(super) const ELEMENTS: &[Rule] = &[
    Rule {
        name: "cluster",
        read: &["name", "config_version"],
        quiet: &["alias"],
        children: &["cman", "clusternodes", "fencedevices", "fence_daemon", "rm"],
        unused_children: &[
            ("totem", COROSYNC),
            ("quorumd", "corosync's quorum device (corosync-qdevice) replaces the quorum disk"),
            ("logging", JOURNAL),
            ("uidgid", COROSYNC),
            ("dlm", DLM),
            ("gfs_controld", DLM),
            ("group", "the group daemon is gone"),
            ("clvmd", "shared volumes are configured in lvm.conf (lvmlockd)"),
            ("fence_xvmd", "fence_virtd has its own configuration, fence_virt.conf"),
            ("gulm", "the gulm lock manager is gone"),
        ],
        ..PLAIN
    },
    Rule {
        name: "cman",
        read: &["two_node", "expected_votes"],
        unused: &[
            ("transport", COROSYNC),
            ("broadcast", COROSYNC),
            ("port", COROSYNC),
            ("cluster_id", COROSYNC),
            ("hash_cluster_id", COROSYNC),
            ("keyfile", COROSYNC),
            ("nodename", "start belayd with --node NAME"),
            ("quorum_dev_poll", COROSYNC),
            ("shutdown_timeout", ""),
            ("ccsd_poll", ""),
            ("startup_config_timeout", ""),
            ("disallowed", ""),
            ("upgrading", ""),
            ("disable_openais", ""),
            ("max_queued", ""),
            ("debug_mask", ""),
        ],
        unused_children: &[("multicast", COROSYNC), ("altmulticast", COROSYNC)],
        ..PLAIN
    },
    Rule { name: "clusternodes", children: &["clusternode"], ..PLAIN },
    Rule {
        name: "clusternode",
        read: &["name", "nodeid", "votes", "memory", "cpus"],
        unused: &[("weight", DLM)],
        children: &["fence"],
        unused_children: &[
            ("altname", COROSYNC),
            ("unfence", "storage fencing (fence_scsi) needs it: use a device that switches the power off"),
            ("multicast", COROSYNC),
        ],
        ..PLAIN
    },
    Rule { name: "fence", children: &["method"], ..PLAIN },
    Rule { name: "method", read: &["name"], children: &["device"], ..PLAIN },
    Rule { name: "device", any_attribute: true, ..PLAIN },
    Rule { name: "fencedevices", children: &["fencedevice"], ..PLAIN },
    Rule { name: "fencedevice", any_attribute: true, ..PLAIN },
    Rule {
        name: "fence_daemon",
        read: &["post_join_delay", "post_fail_delay", "daemon_grace", "clean_start"],
        unused: &[("override_path", ""), ("override_time", ""), ("skip_undefined", "every lost node is fenced")],
        ..PLAIN
    },
    Rule {
        name: "rm",
        unused: &[
            ("log_level", JOURNAL),
            ("log_facility", JOURNAL),
            ("status_poll_interval", EVENTS),
            ("status_child_max", EVENTS),
            ("statusmax", EVENTS),
            ("transition_throttling", EVENTS),
            ("central_processing", "all members decide the same from the same state; there is no central one"),
            ("disabled", "to keep Belay from acting, do not start belayd"),
        ],
        children: &["failoverdomains", "placement", "vm"],
        unused_children: RESOURCE_MANAGER,
        ..PLAIN
    },
    Rule { name: "failoverdomains", children: &["failoverdomain"], ..PLAIN },
    Rule {
        name: "failoverdomain",
        read: &["name", "ordered", "restricted", "nofailback"],
        children: &["failoverdomainnode"],
        ..PLAIN
    },
    Rule { name: "failoverdomainnode", read: &["name", "priority"], ..PLAIN },
    Rule {
        name: "placement",
        read: &["overcommit", "cpu_ratio", "max_starts", "max_migrations"],
        children: &["affinity", "anti-affinity"],
        ..PLAIN
    },
    Rule { name: "affinity", read: &["name", "vms", "required"], ..PLAIN },
    Rule { name: "anti-affinity", read: &["name", "vms", "required"], ..PLAIN },
    Rule {
        name: "vm",
        read: &[
            "name",
            "domain",
            "autostart",
            "exclusive",
            "recovery",
            "max_restarts",
            "restart_expire_time",
            "priority",
            "depend",
            "depend_mode",
            "guest_shutdown",
            "memory",
            "vcpus",
            "use_virsh",
            "xmlfile",
            "path",
            "migrate",
            "tunnelled",
            "migration_mapping",
            "hypervisor",
            "hypervisor_uri",
            "migration_uri",
            "no_kill",
            "ref",
        ],
        unused: &[
            ("migrate_options", "virsh's words are not passed on; migrate and tunnelled are"),
            ("snapshot", "the VM is shut down, not saved, when it is stopped"),
            ("status_program", "the VM counts as running when its process runs and libvirt agrees"),
            ("__independent_subtree", "a VM has no subtree"),
            ("__enforce_timeouts", TIMEOUTS),
            ("__max_failures", EVENTS),
            ("__failure_expire_time", EVENTS),
            ("__max_restarts", "use max_restarts"),
            ("__restart_expire_time", "use restart_expire_time"),
        ],
        children: &["action"],
        unused_children: RESOURCES,
        ..PLAIN
    },
    Rule { name: "action", read: &["name", "timeout"], unused: &[("depth", EVENTS), ("interval", EVENTS)], ..PLAIN },
];

/// What else RHCS read in `rm`. It accepted any resource type at this level.
const RESOURCE_MANAGER: &[(&str, &str)] = &[
    ("service", "only virtual machines are managed so far"),
    ("resources", "only virtual machines are managed so far"),
    ("resource-defaults", "write the values at each vm"),
    ("events", ""),
    ("ip", ""),
    ("fs", ""),
    ("clusterfs", ""),
    ("netfs", ""),
    ("script", ""),
    ("lvm", ""),
    ("nfsexport", ""),
    ("nfsclient", ""),
    ("nfsserver", ""),
    ("samba", ""),
    ("smb", ""),
    ("apache", ""),
    ("mysql", ""),
    ("named", ""),
    ("openldap", ""),
    ("postgres-8", ""),
    ("tomcat-5", ""),
    ("tomcat-6", ""),
    ("oracledb", ""),
    ("SAPInstance", ""),
    ("SAPDatabase", ""),
    ("drbd", ""),
    ("bind-mount", ""),
];

/// What may be nested in a `vm`.
const RESOURCES: &[(&str, &str)] = &[
    ("ip", "a VM starts without the resources nested in it"),
    ("fs", "a VM starts without the resources nested in it"),
    ("clusterfs", "a VM starts without the resources nested in it"),
    ("netfs", "a VM starts without the resources nested in it"),
    ("script", "a VM starts without the resources nested in it"),
    ("lvm", "a VM starts without the resources nested in it"),
];
