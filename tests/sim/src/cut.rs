//! What is left out of a run: the shrinker's answer, short enough to be pasted into a command.

use anyhow::{Context, Error, Result, bail};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What of a seed's run is kept. Nothing given: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Only the strikes with these numbers.
    pub strikes: Option<BTreeSet<u32>>,
    /// Only the requests with these numbers.
    pub asks: Option<BTreeSet<u32>>,
    /// Only so many VMs.
    pub vms: Option<usize>,
    /// Without these odds.
    pub without: BTreeSet<String>,
    /// Chaos ends at this moment, in milliseconds.
    pub until_ms: Option<u64>,
    /// Which of the runs that differ only in how long things take.
    pub variant: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &BTreeSet<u32>| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut words = Vec::new();
        words.extend(self.strikes.as_ref().map(|kept| format!("strikes={}", list(kept))));
        words.extend(self.asks.as_ref().map(|kept| format!("asks={}", list(kept))));
        words.extend(self.vms.map(|vms| format!("vms={vms}")));
        if !self.without.is_empty() {
            words.push(format!("without={}", self.without.iter().cloned().collect::<Vec<_>>().join(",")));
        }
        words.extend(self.until_ms.map(|until| format!("until={until}")));
        words.extend((self.variant > 0).then(|| format!("variant={}", self.variant)));
        f.write_str(&words.join(" "))
    }
}

impl FromStr for Cut {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cut = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').with_context(|| format!("{word}: write it as name=value"))?;
            let numbers = || -> Result<BTreeSet<u32>> {
                Ok(value.split(',').filter(|n| !n.is_empty()).map(str::parse).collect::<Result<_, _>>()?)
            };
            match name {
                "strikes" => cut.strikes = Some(numbers()?),
                "asks" => cut.asks = Some(numbers()?),
                "vms" => cut.vms = Some(value.parse()?),
                "without" => cut.without = value.split(',').map(str::to_owned).collect(),
                "until" => cut.until_ms = Some(value.parse()?),
                "variant" => cut.variant = value.parse()?,
                _ => bail!("{name}: a cut has strikes, asks, vms, without, until and variant"),
            }
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_can_be_pasted_back() {
        let cut = Cut {
            strikes: Some(BTreeSet::from([1, 7])),
            asks: Some(BTreeSet::new()),
            vms: Some(2),
            without: BTreeSet::from(["call_hangs".to_owned()]),
            until_ms: Some(9000),
            variant: 3,
        };
        assert_eq!(cut.to_string().parse::<Cut>().unwrap(), cut);
        assert_eq!("".parse::<Cut>().unwrap(), Cut::default());
        assert!("strikes".parse::<Cut>().is_err());
    }
}
