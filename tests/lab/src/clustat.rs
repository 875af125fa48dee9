//! What `clustat` prints, read back: the lab asks the cluster the way an admin's script does.

use std::collections::{BTreeMap, BTreeSet};

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `Member Status: Quorate`.
    pub quorate: bool,
    /// Members that are `Online`.
    pub online: BTreeSet<String>,
    /// Services by name, with owner and state.
    pub services: BTreeMap<String, (String, String)>,
}

impl Report {
    /// Reads the text layout: two tables, each under an underlined heading.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut report = Self { quorate: text.contains("Member Status: Quorate"), ..Self::default() };
        let mut table = Table::None;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (&table, words.as_slice()) {
                (_, ["Member", "Name", ..]) => table = Table::Members,
                (_, ["Service", "Name", ..]) => table = Table::Services,
                (_, []) => table = Table::None,
                (Table::Members, [name, _, status, ..]) if status.starts_with("Online") => {
                    report.online.insert((*name).to_owned());
                }
                (Table::Services, [name, owner, state, ..]) if name.contains(':') => {
                    report.services.insert((*name).to_owned(), ((*owner).to_owned(), (*state).to_owned()));
                }
                _ => {}
            }
        }
        report
    }

    /// Who runs a VM, where it is started.
    #[must_use]
    pub fn owner_of_started(&self, vm: &str) -> Option<&str> {
        let (owner, state) = self.services.get(&format!("vm:{vm}"))?;
        (state == "started").then_some(owner.as_str())
    }
}

enum Table {
    None,
    Members,
    Services,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
Cluster Status for lab @ Tue Mar  6 10:15:02 2012
Member Status: Quorate

 Member Name                             ID   Status
 ------ ----                             ---- ------
 h1                                          1 Online, Local, rgmanager
 h2                                          2 Online, rgmanager
 h3                                          3 Offline

 Service Name                   Owner (Last)                   State
 ------- ----                   ----- ------                   -----
 vm:web1                        h2                             started
 vm:web2                        (none)                         stopped
";

    #[test]
    fn a_report_tells_quorum_members_and_owners() {
        let report = Report::read(SAMPLE);
        assert!(report.quorate);
        assert_eq!(report.online, ["h1", "h2"].map(str::to_owned).into());
        assert_eq!(report.owner_of_started("web1"), Some("h2"));
        assert_eq!(report.owner_of_started("web2"), None);
        assert_eq!(report.services.len(), 2);
    }

    #[test]
    fn an_error_message_is_a_report_of_nothing() {
        assert_eq!(Report::read("Could not connect to CMAN: No such file or directory\n"), Report::default());
    }
}
