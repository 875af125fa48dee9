//! Clusters that exist in a rehearsal only: hosts on which everything works, told what happens to them.

use belay_engine::rehearsal::{Happening, Rehearsal};
use belay_engine::state::service::Phase;
use belay_proto::entry::Request;
use belay_proto::{Code, NodeId, ServiceName};
use std::collections::BTreeSet;

pub(crate) struct Cluster {
    pub(crate) rehearsal: Rehearsal,
    conf: String,
    /// What was recorded last.
    pub(crate) said: Vec<String>,
    version: u32,
}

pub(crate) fn vm(name: &str) -> ServiceName {
    ServiceName::vm(name).unwrap()
}

/// A configuration of so many hosts, each with these attributes, and this `rm`.
pub(crate) fn conf(hosts: u32, node: &str, rm: &str) -> String {
    let member = |id| {
        format!(
            "<clusternode name='node{id}' nodeid='{id}' {node}><fence><method name='m'><device name='d'/></method>\
             </fence></clusternode>"
        )
    };
    let members: String = (1..=hosts).map(member).collect();
    format!(
        "<cluster name='c' config_version='1'><clusternodes>{members}</clusternodes><fencedevices>\
         <fencedevice name='d' agent='fence_d'/></fencedevices><rm>{rm}</rm></cluster>"
    )
}

impl Cluster {
    /// Switched on, and everything started that can be.
    pub(crate) fn of(conf: String) -> Self {
        Self::without(conf, &[])
    }

    /// The same, without some hosts.
    pub(crate) fn without(conf: String, absent: &[u32]) -> Self {
        let reading = belay_config::read("cluster.conf", &conf);
        assert!(reading.cluster.is_some(), "{:?}", reading.diagnostics);
        let absent = absent.iter().map(|id| NodeId(*id)).collect();
        let (rehearsal, played) = Rehearsal::cold(&conf, &absent).unwrap();
        let said = played.steps.into_iter().map(|step| step.event.text).collect();
        Self { rehearsal, conf, said, version: 1 }
    }

    fn play(&mut self, happening: &Happening) -> Option<(Code, String)> {
        let played = self.rehearsal.play(happening).unwrap();
        self.said = played.steps.into_iter().map(|step| step.event.text).collect();
        played.verdict.map(|verdict| (verdict.code, verdict.reason))
    }

    pub(crate) fn fail(&mut self, hosts: &[u32]) -> &mut Self {
        self.play(&Happening::Fail(hosts.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>()));
        self
    }

    pub(crate) fn join(&mut self, host: u32) -> &mut Self {
        self.play(&Happening::Join(NodeId(host)));
        self
    }

    /// Asks and gives the answer.
    pub(crate) fn ask(&mut self, request: Request) -> Code {
        self.answer(request).0
    }

    pub(crate) fn answer(&mut self, request: Request) -> (Code, String) {
        self.play(&Happening::Request(request)).expect("an answer")
    }

    pub(crate) fn enable(&mut self, name: &str, target: Option<u32>) -> (Code, String) {
        self.answer(Request::Enable { service: vm(name), target: target.map(NodeId), by_domain: target.is_none() })
    }

    pub(crate) fn disable(&mut self, name: &str) -> &mut Self {
        assert_eq!(self.ask(Request::Disable { service: vm(name) }), Code::Success);
        self
    }

    pub(crate) fn relocate(&mut self, name: &str, target: Option<u32>) -> (Code, String) {
        self.answer(Request::Relocate { service: vm(name), target: target.map(NodeId) })
    }

    pub(crate) fn migrate(&mut self, name: &str, target: u32) -> (Code, String) {
        self.answer(Request::Migrate { service: vm(name), target: NodeId(target) })
    }

    /// Another configuration: the present one with a part replaced.
    pub(crate) fn change(&mut self, from: &str, to: &str) -> &mut Self {
        assert!(self.conf.contains(from), "{from} is not in {}", self.conf);
        let next = self.version + 1;
        let version = |number| format!("config_version='{number}'");
        self.conf = self.conf.replace(from, to).replace(&version(self.version), &version(next));
        self.version = next;
        self.play(&Happening::Configure(self.conf.clone()));
        self
    }

    /// Where it runs.
    pub(crate) fn on(&self, name: &str) -> Option<u32> {
        match self.rehearsal.state().service(&vm(name)).unwrap().phase {
            Phase::Started { owner } => Some(owner.0),
            _ => None,
        }
    }

    pub(crate) fn all_on<const N: usize>(&self, names: [&str; N]) -> [Option<u32>; N] {
        names.map(|name| self.on(name))
    }

    /// What it waits for.
    pub(crate) fn waits(&self, name: &str) -> String {
        self.rehearsal.state().service(&vm(name)).unwrap().waiting.clone().unwrap_or_default()
    }
}
