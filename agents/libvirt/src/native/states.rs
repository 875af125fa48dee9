//! Two libvirt calls that crate `virt` has not got: the states of all active domains at once, and aborting a job.

use belay_proto::Size;
use belay_proto::agent::DomainState;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

/// One active domain, as libvirt has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) state: DomainState,
    /// libvirt's number for this life of the domain.
    pub(crate) life: Option<u32>,
    /// How big it is, where that was asked.
    pub(crate) size: Option<Size>,
}

/// All active domains with their states. It is one call, also over libvirtd's socket, so that looking at a thousand
/// domains costs one round trip; drivers that do not know that call are asked domain by domain.
pub(crate) fn active_domains(connect: &Connect) -> Result<Vec<Row>, Error> {
    match active_domains_at_once(connect) {
        Err(error) if error.code() == ErrorNumber::NoSupport.into() => active_domains_one_by_one(connect),
        other => other,
    }
}

fn active_domains_at_once(connect: &Connect) -> Result<Vec<Row>, Error> {
    let flags = virt_sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | virt_sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let mut records: *mut virt_sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: the connection outlives the call; libvirt stores a NULL-terminated array in `records`, which is ours.
    let count = unsafe {
        virt_sys::virConnectGetAllDomainStats(
            connect.as_ptr(),
            virt_sys::VIR_DOMAIN_STATS_STATE,
            &raw mut records,
            flags,
        )
    };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    // SAFETY: libvirt filled `count` valid records, each with a domain and its parameters; they live until freed below.
    let rows = (0..count).filter_map(|i| unsafe { row_of(*records.add(i)) }).collect();
    // SAFETY: `records` came from virConnectGetAllDomainStats, is freed once, and nothing points into it any more.
    unsafe { virt_sys::virDomainStatsRecordListFree(records) };
    Ok(rows)
}

/// # Safety
/// `record` must be a valid record of libvirt's.
unsafe fn row_of(record: virt_sys::virDomainStatsRecordPtr) -> Option<Row> {
    let mut state: c_int = 0;
    // SAFETY: the caller vouches for the record; the key is a C string of the bindings; `state` is a valid place.
    let found = unsafe {
        let key = virt_sys::VIR_DOMAIN_STATS_STATE_STATE.as_ptr();
        virt_sys::virTypedParamsGetInt((*record).params, (*record).nparams, key, &raw mut state)
    };
    // SAFETY: as above; the record holds a reference on its domain.
    let (name, uuid) = unsafe { name_and_uuid((*record).dom) }?;
    // A domain whose state was not told (its lock was held) is active all the same.
    let state = if found == 1 { state_of(u32::try_from(state).unwrap_or(0))? } else { DomainState::Alive };
    // SAFETY: as above; this reads a field of the domain and asks nobody.
    let life = Some(unsafe { virt_sys::virDomainGetID((*record).dom) }).filter(|life| *life != u32::MAX);
    Some(Row { name, uuid, state, life, size: None })
}

fn active_domains_one_by_one(connect: &Connect) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for domain in connect.list_all_domains(virt_sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)? {
        let state = state_of(domain.state()?.0.to_raw());
        if let Some(state) = state {
            let (name, uuid) = (domain.name()?, domain.uuid_string()?);
            rows.push(Row { name, uuid, state, life: domain.id(), size: None });
        }
    }
    Ok(rows)
}

/// libvirt's number for a state; `None` for a domain that is off.
pub(super) fn state_of(state: virt_sys::virDomainState) -> Option<DomainState> {
    match state {
        virt_sys::VIR_DOMAIN_PAUSED => Some(DomainState::Paused),
        virt_sys::VIR_DOMAIN_SHUTDOWN => Some(DomainState::ShuttingDown),
        virt_sys::VIR_DOMAIN_SHUTOFF => None,
        virt_sys::VIR_DOMAIN_CRASHED => Some(DomainState::Crashed),
        virt_sys::VIR_DOMAIN_PMSUSPENDED => Some(DomainState::Suspended),
        _ => Some(DomainState::Running),
    }
}

/// # Safety
/// `domain` must be null or a valid domain of libvirt's.
pub(super) unsafe fn name_and_uuid(domain: virt_sys::virDomainPtr) -> Option<(String, String)> {
    if domain.is_null() {
        return None;
    }
    // SAFETY: the domain is valid; the name belongs to it and is copied at once.
    let name = unsafe { text(virt_sys::virDomainGetName(domain)) }?;
    let mut buffer = [0 as c_char; virt_sys::VIR_UUID_STRING_BUFLEN as usize];
    // SAFETY: the buffer has the length that libvirt demands, and is NUL-terminated when the call succeeds.
    let uuid = unsafe {
        if virt_sys::virDomainGetUUIDString(domain, buffer.as_mut_ptr()) < 0 {
            return None;
        }
        text(buffer.as_ptr())
    }?;
    Some((name, uuid))
}

/// # Safety
/// `pointer` must be null or a C string.
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for a NUL-terminated string; it is copied before this function returns.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Aborts the job (a migration) that a domain is in.
pub(crate) fn abort_job(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the domain holds a reference for the length of the call.
    if unsafe { virt_sys::virDomainAbortJob(domain.as_ptr()) } < 0 { Err(Error::last_error()) } else { Ok(()) }
}
