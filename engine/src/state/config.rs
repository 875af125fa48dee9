//! A new configuration: services and members that appear, change and go.

use super::State;
use super::history::{Cause, event};
use super::member::NodeRecord;
use super::placement::rules::Rules;
use super::service::{Phase, ServiceRecord, Wanted};
use belay_proto::history::{EventKind, Severity};
use belay_proto::{NodeId, ServiceName};

impl State {
    /// Takes a configuration if it is valid and newer than the one in force.
    pub(crate) fn apply_config(&mut self, text: &str, from: NodeId) {
        if self.config_text == text {
            return;
        }
        let reading = belay_config::read("cluster.conf", text);
        let refusal = reading.refusal().unwrap_or_default();
        let Some(config) = reading.cluster else {
            let text =
                format!("the configuration from {} is not valid and was ignored: {refusal}", self.node_name(from));
            self.note(event(EventKind::Config, Severity::Error, text), None);
            return;
        };
        let present = self.config.as_ref().map(|config| config.version);
        if present.is_some_and(|present| config.version <= present) {
            let text = format!(
                "configuration version {} from {} was ignored: version {} is in force; raise config_version",
                config.version,
                self.node_name(from),
                present.unwrap_or_default()
            );
            self.note(event(EventKind::Config, Severity::Warning, text), None);
            return;
        }
        let vms: Vec<(ServiceName, bool)> = config.vms.iter().map(|(n, vm)| (n.clone(), vm.autostart)).collect();
        let nodes: Vec<NodeId> = config.nodes.keys().copied().collect();
        let note = format!("configuration version {} of cluster {} is in force", config.version, config.name);
        let owed = self.owed_switch_ons();
        self.rules = Rules::of(&config);
        self.config = Some(config);
        text.clone_into(&mut self.config_text);
        self.note(event(EventKind::Config, Severity::Notice, note), None);
        for node in nodes {
            let time = self.time;
            self.nodes.entry(node).or_insert_with(|| NodeRecord::new(time));
        }
        self.drop_removed(&vms);
        if vms.iter().any(|(name, _)| !self.services.contains_key(name)) {
            self.inquire();
        }
        for (name, autostart) in vms {
            self.add_service(name, autostart);
        }
        // Any VM's hypervisor may be another one now.
        self.services.tell_all();
        for victim in self.victims.values_mut() {
            // The new configuration may have a method for it.
            victim.no_method = false;
        }
        self.review_switch_ons(&owed);
        self.judge_absent(true);
    }

    fn add_service(&mut self, name: ServiceName, autostart: bool) {
        if self.services.contains_key(&name) {
            return;
        }
        let (phase, text) = if autostart {
            (Phase::Stopped { wanted: Wanted::Now }, "is configured, to be started")
        } else {
            (Phase::Disabled, "is configured, not to be started by itself (autostart=0)")
        };
        let mut record = ServiceRecord::new(phase);
        record.sought = self.who_may_run_new(&name);
        for node in self.nodes.values_mut() {
            node.left_behind.remove(name.name());
        }
        self.note_service(&name, &mut record, event(EventKind::Config, Severity::Info, text), Cause::Root);
        self.services.insert(name, record);
    }

    /// A VM that the file no longer names is left alone, as the original left it.
    fn drop_removed(&mut self, vms: &[(ServiceName, bool)]) {
        let removed: Vec<ServiceName> =
            self.services.keys().filter(|name| !vms.iter().any(|(kept, _)| kept == *name)).cloned().collect();
        for name in removed {
            let Some(mut record) = self.services.remove(&name) else { continue };
            for (_, node) in self.nodes.iter_mut().filter(|(id, _)| record.phase.may_run_on(**id)) {
                node.left_behind.insert(name.name().to_owned());
            }
            let text = match record.phase.owner() {
                Some(owner) => format!(
                    "was removed from the configuration; it is left running on {} and no longer looked after",
                    self.node_name(owner)
                ),
                None => "was removed from the configuration".to_owned(),
            };
            self.note_service(&name, &mut record, event(EventKind::Config, Severity::Warning, text), Cause::Root);
            let gone = format!("{name} was removed from the configuration");
            let waiting = record.request.take().into_iter().chain(std::mem::take(&mut record.queue));
            for id in waiting {
                self.set_answer(&id, belay_proto::Code::NoService, gone.clone(), None);
            }
        }
        let configured = self.config.clone();
        let is_configured = |id: &NodeId| configured.as_ref().is_some_and(|config| config.nodes.contains_key(id));
        self.nodes.retain(|id, record| is_configured(id) || record.in_view());
        self.victims.retain(|id, _| is_configured(id));
    }
}
