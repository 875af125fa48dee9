//! Names and numbers that identify things, each its own type so that one cannot be passed for another.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A cluster member's number: `clusternode/@nodeid`, and corosync's nodeid.
    NodeId(u32)
}
number! {
    /// The position of an entry in the replicated stream: the number of entries applied, this one included.
    Index(u64)
}
number! {
    /// How often this cluster became quorate. A state of a higher term is always the more advanced one.
    Term(u64)
}
number! {
    /// Numbers the decisions about one service. Every piece of work carries the epoch it was decided in; what is
    /// reported for an older epoch has no effect (design S9).
    OwnershipEpoch(u64)
}
number! {
    /// One life of one daemon process, in microseconds of its start; a restarted daemon has a higher one.
    Incarnation(u64)
}

impl Index {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl OwnershipEpoch {
    /// The epoch of the next decision.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Why a text is not a valid id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A service name without a name, or with characters that cannot be shown in one column.
    #[error("'{0}' is not a service name: write type:name, for example vm:web1")]
    ServiceName(String),
    /// A service name that does not fit the 63 bytes the record allows.
    #[error("service name '{0}' is longer than 63 bytes")]
    ServiceNameTooLong(String),
    /// A request id that is empty, too long, or not plain ASCII.
    #[error("'{0}' is not a request id: use 1 to 64 letters, digits or dashes")]
    RequestId(String),
    /// A boot id that is empty or too long.
    #[error("'{0}' is not a boot id")]
    BootId(String),
}

/// A service's full name, `type:name` (`vm:web1`). A bare name from a person means `service:name`, as rgmanager had it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// The longest name in bytes; the limit of rgmanager's record.
    pub const MAX_BYTES: usize = 63;

    /// The name of the virtual machine `name`.
    ///
    /// # Errors
    /// As for parsing `vm:name`.
    pub fn vm(name: &str) -> Result<Self, IdError> {
        format!("vm:{name}").parse()
    }

    /// The whole name, `vm:web1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon, `vm`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }

    /// The part after the colon, `web1`: for a `vm` the libvirt domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, name)| name)
    }
}

impl FromStr for ServiceName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let full = if text.contains(':') { text.to_owned() } else { format!("service:{text}") };
        let whole = full.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
        let printable = !full.chars().any(|c| c.is_control() || c.is_whitespace());
        if !whole || !printable {
            return Err(IdError::ServiceName(text.to_owned()));
        }
        if full.len() > Self::MAX_BYTES {
            return Err(IdError::ServiceNameTooLong(full));
        }
        Ok(Self(full))
    }
}

impl TryFrom<String> for ServiceName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $error:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                if text.is_empty() || text.len() > $max || !plain {
                    return Err(IdError::$error(text.chars().take(80).collect()));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

token! {
    /// Chosen by whoever makes a request; repeating a request with the same id changes nothing (design S12).
    RequestId, RequestId, 64
}
token! {
    /// One life of one host, from `/proc/sys/kernel/random/boot_id`. A host that comes back with a new one has lost
    /// every process it ran, which proves that its VMs are gone (design S2).
    BootId, BootId, 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_means_a_service() {
        assert_eq!("web".parse::<ServiceName>().map(String::from), Ok("service:web".to_owned()));
        assert_eq!("vm:web".parse::<ServiceName>().map(|n| n.name().to_owned()), Ok("web".to_owned()));
    }

    #[test]
    fn a_name_without_its_half_or_with_blanks_is_refused() {
        for bad in [":x", "vm:", "", "vm:a b", "vm:a\nb"] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!(format!("vm:{}", "x".repeat(61)).parse::<ServiceName>().is_err());
        assert!(format!("vm:{}", "x".repeat(60)).parse::<ServiceName>().is_ok());
    }
}
