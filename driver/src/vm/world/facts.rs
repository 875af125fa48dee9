//! How big this host and its domains are, told when it becomes known and when it changes, and not otherwise: what every
//! list repeats must not fill the ring.

use belay_proto::entry::{DomainName, What};
use belay_proto::{HostFacts, Size};
use std::collections::{BTreeMap, BTreeSet};

/// What is known, and what of it the cluster was told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    host: Option<HostFacts>,
    told_host: Option<HostFacts>,
    sizes: BTreeMap<DomainName, Size>,
    told_sizes: BTreeMap<DomainName, Size>,
}

impl Facts {
    /// libvirt says how big the host is.
    pub(super) fn host(&mut self, host: HostFacts) {
        self.host = Some(host);
    }

    /// A list or a definition says how big a managed domain is.
    pub(super) fn domain(&mut self, name: &str, size: Size) {
        if self.sizes.get(name) != Some(&size) {
            self.sizes.insert(name.to_owned(), size);
        }
    }

    /// What is not managed any more is forgotten: should it be again, it is news.
    pub(super) fn managed(&mut self, managed: impl Fn(&str) -> bool) {
        self.sizes.retain(|name, _| managed(name));
        self.told_sizes.retain(|name, _| managed(name));
    }

    /// The cluster knows nothing of this host, whatever it was told before: that history was not the one that prevailed.
    pub(super) fn forgotten(&mut self) {
        self.told_host = None;
        self.told_sizes.clear();
    }

    /// What the cluster was not told yet.
    pub(super) fn news(&mut self) -> Option<What> {
        let host = self.host?;
        let changed: BTreeSet<&DomainName> =
            self.sizes.iter().filter(|(name, size)| self.told_sizes.get(*name) != Some(size)).map(|(n, _)| n).collect();
        if self.told_host == Some(host) && changed.is_empty() {
            return None;
        }
        let domains: BTreeMap<DomainName, Size> =
            changed.into_iter().filter_map(|name| Some((name.clone(), *self.sizes.get(name)?))).collect();
        self.told_host = Some(host);
        self.told_sizes.extend(domains.iter().map(|(name, size)| (name.clone(), *size)));
        Some(What::Facts { host, domains })
    }
}

/// How big the domain of a definition may become; nothing if the definition does not say.
#[must_use]
pub fn size_of(xml: &str) -> Option<Size> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let domain = document.root_element();
    let child = |tag: &str| domain.children().find(|node| node.has_tag_name(tag));
    let memory = child("memory")?;
    let amount: u64 = memory.text()?.trim().parse().ok()?;
    let bytes = amount.checked_mul(unit(memory.attribute("unit").unwrap_or("KiB"))?)?;
    let vcpus = match child("vcpu") {
        Some(vcpu) => vcpu.text()?.trim().parse().ok()?,
        None => 1,
    };
    Some(Size { memory_mib: bytes.div_ceil(1024 * 1024), vcpus })
}

/// libvirt's units: those with an i, and single letters, are powers of 1024.
fn unit(name: &str) -> Option<u64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "b" | "bytes" => 1,
        "kb" => 1000,
        "k" | "kib" => 1 << 10,
        "mb" => 1_000_000,
        "m" | "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "g" | "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "t" | "tib" => 1 << 40,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostFacts = HostFacts { memory_mib: 64_000, cpus: 16 };

    fn size(memory_mib: u64) -> Size {
        Size { memory_mib, vcpus: 2 }
    }

    fn said(what: Option<What>) -> Vec<(String, u64)> {
        match what {
            Some(What::Facts { domains, .. }) => domains.into_iter().map(|(n, s)| (n, s.memory_mib)).collect(),
            None => vec![("nothing".into(), 0)],
            Some(other) => panic!("{other:?}"),
        }
    }

    fn pairs(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(name, mib)| ((*name).to_owned(), *mib)).collect()
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut facts = Facts::default();
        facts.domain("a", size(10));
        assert_eq!(said(facts.news()), pairs(&[("nothing", 0)]), "nothing before it is known how big the host is");
        facts.host(HOST);
        assert_eq!(said(facts.news()), pairs(&[("a", 10)]));
        facts.host(HOST);
        facts.domain("a", size(10));
        assert_eq!(said(facts.news()), pairs(&[("nothing", 0)]));
        facts.domain("b", size(20));
        assert_eq!(said(facts.news()), pairs(&[("b", 20)]));
        facts.domain("a", size(11));
        assert_eq!(said(facts.news()), pairs(&[("a", 11)]));
        facts.host(HostFacts { memory_mib: 32_000, ..HOST });
        assert_eq!(said(facts.news()), pairs(&[]));
    }

    #[test]
    fn what_the_cluster_has_lost_or_dropped_is_told_again() {
        let mut facts = Facts::default();
        facts.host(HOST);
        facts.domain("a", size(10));
        facts.news();
        facts.forgotten();
        assert_eq!(said(facts.news()), pairs(&[("a", 10)]));
        facts.managed(|_| false);
        facts.domain("a", size(10));
        assert_eq!(said(facts.news()), pairs(&[("a", 10)]));
    }

    #[test]
    fn a_definition_tells_how_big_its_domain_may_become() {
        let of = |inside: &str| size_of(&format!("<domain type='kvm'><name>a</name>{inside}</domain>"));
        let is = |memory_mib, vcpus| Some(Size { memory_mib, vcpus });
        assert_eq!(of("<memory>2097152</memory><vcpu>4</vcpu>"), is(2048, 4));
        assert_eq!(of("<memory unit='GiB'>3</memory><currentMemory unit='GiB'>1</currentMemory>"), is(3072, 1));
        assert_eq!(of("<memory unit='MB'>1000</memory><vcpu placement='static' current='1'>2</vcpu>"), is(954, 2));
        assert_eq!(of("<memory unit='b'>1</memory>"), is(1, 1));
        for unclear in ["", "<memory/>", "<memory unit='pages'>1</memory>", "<memory>much</memory>"] {
            assert_eq!(of(unclear), None, "{unclear}");
        }
        assert_eq!(of("<memory unit='TiB'>18446744073709551615</memory>"), None);
        assert_eq!(size_of("no XML"), None);
    }
}
