//! The agent's description of itself, in the form all fence agents print.

/// What the action `metadata` prints.
pub(crate) const XML: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_belay_demo" shortdesc="Fence agent for the hosts of Belay's demo">
<longdesc>fence_belay_demo switches the hosts of Belay's demo off and on. Switching a host off kills every process of that host and verifies that none is left.</longdesc>
<vendor-url>https://github.com/belay-ha/belay</vendor-url>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]" />
		<content type="string" default="reboot" />
		<shortdesc lang="en">Fencing action</shortdesc>
	</parameter>
	<parameter name="plug" unique="0" required="1" obsoletes="port">
		<getopt mixed="-n, --plug=[host]" />
		<content type="string" />
		<shortdesc lang="en">Name of the demo host; nodename is used if it is not given</shortdesc>
	</parameter>
	<parameter name="port" unique="0" required="0" deprecated="1">
		<getopt mixed="-n, --plug=[host]" />
		<content type="string" />
		<shortdesc lang="en">Name of the demo host; nodename is used if it is not given</shortdesc>
	</parameter>
	<parameter name="state_dir" unique="0" required="1">
		<getopt mixed="--state-dir=[directory]" />
		<content type="string" />
		<shortdesc lang="en">Directory that holds a directory for each demo host</shortdesc>
	</parameter>
	<parameter name="delay" unique="0" required="0">
		<getopt mixed="--delay=[seconds]" />
		<content type="second" default="0" />
		<shortdesc lang="en">Wait X seconds before switching off</shortdesc>
	</parameter>
	<parameter name="power_timeout" unique="0" required="0">
		<getopt mixed="--power-timeout=[seconds]" />
		<content type="second" default="20" />
		<shortdesc lang="en">Test X seconds for status change after ON/OFF</shortdesc>
	</parameter>
</parameters>
<actions>
	<action name="on" automatic="0" />
	<action name="off" />
	<action name="reboot" />
	<action name="status" />
	<action name="list" />
	<action name="monitor" />
	<action name="metadata" />
	<action name="validate-all" />
</actions>
</resource-agent>
"#;
