//! Domain events: callbacks that turn what libvirt says into owned [`Notice`]s on a channel.

use super::states::{name_and_uuid, text};
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;
use virt::connect::Connect;
use virt::error::Error;
use virt_sys::{virConnectPtr, virDomainPtr};

/// Something libvirt said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// About a domain.
    Domain { name: String, uuid: String, change: Change },
    /// Everything that libvirt had to say when this was asked for has been said.
    Flushed { asked: Instant },
    /// The connection of this number is closed.
    Closed { connection: u64, reason: &'static str },
}

/// What happened to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It runs; with `arriving` it does so to receive a migration, its CPUs stand still until that is done.
    Started { arriving: bool },
    /// Its CPUs stand still, for libvirt's reason.
    Paused { why: &'static str },
    /// Its CPUs go on.
    Resumed,
    /// The guest powers itself off (`by_guest`), or the emulator was told to end.
    ShuttingDown { by_guest: bool },
    /// It is off.
    Stopped { why: Stopped },
    /// The guest rebooted itself.
    Rebooted,
    /// A disk failed.
    IoError { detail: String },
}

/// Why libvirt says a domain is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// After a shutdown, the guest's own or by a signal to the emulator.
    Shutdown,
    /// It runs elsewhere now.
    Migrated,
    /// Destroyed, crashed, failed, saved.
    Otherwise,
}

/// What a callback is given: where to put its notices.
struct Ear {
    notices: Sender<Notice>,
    connection: u64,
}

/// The callbacks of one connection. Dropping it takes them back.
pub(crate) struct Subscription {
    connect: Arc<Connect>,
    callbacks: Vec<c_int>,
    watches_close: bool,
}

impl Subscription {
    /// Subscribes to everything the agent wants to know of a connection. `connection` numbers it in
    /// [`Notice::Closed`], so that a late notice about an old connection does not count for the next one.
    pub(crate) fn new(connect: &Arc<Connect>, connection: u64, notices: &Sender<Notice>) -> Result<Self, Error> {
        let mut this = Self { connect: Arc::clone(connect), callbacks: Vec::new(), watches_close: false };
        let ear = || Box::new(Ear { notices: notices.clone(), connection });
        // SAFETY (all three): each function has the signature that libvirt documents for its event id; the generic
        // type is how libvirt's interface takes all of them, and libvirt casts it back before it calls.
        let lifecycle = unsafe { std::mem::transmute::<Lifecycle, Generic>(on_lifecycle) };
        let io_error = unsafe { std::mem::transmute::<IoError, Generic>(on_io_error) };
        this.register(virt_sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, ear())?;
        for (event, callback) in [
            (virt_sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot as Generic),
            (virt_sys::VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, io_error),
        ] {
            // Not every driver knows these; lifecycle events are the ones that must work.
            if let Err(error) = this.register(event, callback, ear()) {
                crate::log!("note: no events of kind {event} from this hypervisor: {}", error.message());
            }
        }
        this.watch_close(ear());
        Ok(this)
    }

    fn register(&mut self, event: virt_sys::virDomainEventID, callback: Generic, ear: Box<Ear>) -> Result<(), Error> {
        let opaque = Box::into_raw(ear).cast::<c_void>();
        let event = c_int::try_from(event).unwrap_or(c_int::MAX);
        // SAFETY: the connection is alive; a null domain means all of them; `opaque` is a leaked box that libvirt hands
        // to the callback until it hands it to `free_ear`, once, after the last callback.
        let id = unsafe {
            let (connect, all) = (self.connect.as_ptr(), std::ptr::null_mut());
            virt_sys::virConnectDomainEventRegisterAny(connect, all, event, Some(callback), opaque, Some(free_ear))
        };
        if id < 0 {
            let error = Error::last_error();
            // SAFETY: a registration that failed has not taken the box, and will not free it.
            drop(unsafe { Box::from_raw(opaque.cast::<Ear>()) });
            return Err(error);
        }
        self.callbacks.push(id);
        Ok(())
    }

    fn watch_close(&mut self, ear: Box<Ear>) {
        let opaque = Box::into_raw(ear).cast::<c_void>();
        // SAFETY: as in `register`.
        let result = unsafe {
            let connect = self.connect.as_ptr();
            virt_sys::virConnectRegisterCloseCallback(connect, Some(on_close), opaque, Some(free_ear))
        };
        if result < 0 {
            // SAFETY: as in `register`: the box is still ours.
            drop(unsafe { Box::from_raw(opaque.cast::<Ear>()) });
        }
        self.watches_close = result >= 0;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for id in &self.callbacks {
            // SAFETY: the connection is alive (we hold it) and the id is one that it gave us.
            unsafe { virt_sys::virConnectDomainEventDeregisterAny(self.connect.as_ptr(), *id) };
        }
        if self.watches_close {
            // SAFETY: as above; the callback is the registered one.
            unsafe { virt_sys::virConnectUnregisterCloseCallback(self.connect.as_ptr(), Some(on_close)) };
        }
    }
}

/// What a flush is given.
struct Flush {
    notices: Sender<Notice>,
    asked: Instant,
}

/// Asks for a [`Notice::Flushed`] behind all notices of what has happened until now. libvirt hands events out from a
/// timer of its event loop; a timer added later runs after it.
pub(crate) fn flush(notices: &Sender<Notice>, asked: Instant) {
    let opaque = Box::into_raw(Box::new(Flush { notices: notices.clone(), asked })).cast::<c_void>();
    // SAFETY: the event loop is registered before anything is watched; `opaque` is a leaked box that libvirt hands to
    // the callback and then, once, to `free_flush`.
    let timer = unsafe { virt_sys::virEventAddTimeout(0, Some(on_flush), opaque, Some(free_flush)) };
    if timer < 0 {
        // SAFETY: a timer that was not added has not taken the box.
        drop(unsafe { Box::from_raw(opaque.cast::<Flush>()) });
    }
}

unsafe extern "C" fn on_flush(timer: c_int, opaque: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the box leaked in `flush`, not freed before the timer is removed below.
        let flush = unsafe { &*opaque.cast::<Flush>() };
        let _ = flush.notices.send(Notice::Flushed { asked: flush.asked });
    }));
    // SAFETY: the timer is this one; libvirt allows its removal from its own callback.
    unsafe { virt_sys::virEventRemoveTimeout(timer) };
}

/// libvirt gives back a [`Flush`] whose timer is gone.
unsafe extern "C" fn free_flush(opaque: *mut c_void) {
    // SAFETY: `opaque` is the box leaked in `flush`, and libvirt frees it exactly once.
    let flush = unsafe { Box::from_raw(opaque.cast::<Flush>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(flush)));
}

type Generic = unsafe extern "C" fn(virConnectPtr, virDomainPtr, *mut c_void);
type Lifecycle = unsafe extern "C" fn(virConnectPtr, virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type IoError =
    unsafe extern "C" fn(virConnectPtr, virDomainPtr, *const c_char, *const c_char, c_int, *const c_char, *mut c_void);

/// libvirt gives back an [`Ear`] that it will not use again.
unsafe extern "C" fn free_ear(opaque: *mut c_void) {
    // SAFETY: `opaque` is the box leaked in `register` or `watch_close`, and libvirt frees it exactly once.
    let ear = unsafe { Box::from_raw(opaque.cast::<Ear>()) };
    // A panic must not cross into C; there is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(ear)));
}

/// Sends a notice about `domain`. Does nothing when the domain cannot be named or nobody listens any more.
///
/// # Safety
/// `domain` must be valid or null, `opaque` an [`Ear`] that libvirt has not freed yet.
unsafe fn tell(domain: virDomainPtr, opaque: *mut c_void, change: impl FnOnce() -> Option<Change>) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller passes on libvirt's own promises; both live for the length of the callback.
        let (ear, who) = unsafe { (&*opaque.cast::<Ear>(), name_and_uuid(domain)) };
        if let (Some((name, uuid)), Some(change)) = (who, change()) {
            let _ = ear.notices.send(Notice::Domain { name, uuid, change });
        }
    }));
}

unsafe extern "C" fn on_lifecycle(
    _: virConnectPtr,
    domain: virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: libvirt's arguments, valid for the length of the callback.
    unsafe { tell(domain, opaque, || lifecycle(u32::try_from(event).ok()?, u32::try_from(detail).ok()?)) };
    0
}

unsafe extern "C" fn on_reboot(_: virConnectPtr, domain: virDomainPtr, opaque: *mut c_void) {
    // SAFETY: as in `on_lifecycle`.
    unsafe { tell(domain, opaque, || Some(Change::Rebooted)) };
}

unsafe extern "C" fn on_io_error(
    _: virConnectPtr,
    domain: virDomainPtr,
    path: *const c_char,
    alias: *const c_char,
    action: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_lifecycle`; the three texts are C strings or null.
    unsafe {
        tell(domain, opaque, || {
            let [path, alias, reason] = [path, alias, reason].map(|p| text(p).filter(|t| !t.is_empty()));
            let paused = u32::try_from(action) == Ok(virt_sys::VIR_DOMAIN_EVENT_IO_ERROR_PAUSE);
            let mut detail = alias.unwrap_or_else(|| "a disk".into());
            for part in [path, reason, paused.then(|| "paused".into())].into_iter().flatten() {
                detail.push(' ');
                detail.push_str(&part);
            }
            Some(Change::IoError { detail })
        });
    }
}

unsafe extern "C" fn on_close(_: virConnectPtr, reason: c_int, opaque: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as in `tell`.
        let ear = unsafe { &*opaque.cast::<Ear>() };
        let reason = match u32::try_from(reason) {
            Ok(virt_sys::VIR_CONNECT_CLOSE_REASON_EOF) => "libvirtd closed the connection",
            Ok(virt_sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE) => "libvirtd does not answer keepalive messages",
            Ok(virt_sys::VIR_CONNECT_CLOSE_REASON_CLIENT) => "the connection was closed here",
            _ => "the connection to libvirtd failed",
        };
        let _ = ear.notices.send(Notice::Closed { connection: ear.connection, reason });
    }));
}

fn lifecycle(event: u32, detail: u32) -> Option<Change> {
    match event {
        virt_sys::VIR_DOMAIN_EVENT_STARTED => {
            Some(Change::Started { arriving: detail == virt_sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED })
        }
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED => Some(Change::Paused { why: suspended(detail) }),
        virt_sys::VIR_DOMAIN_EVENT_PMSUSPENDED => Some(Change::Paused { why: "pmsuspended" }),
        virt_sys::VIR_DOMAIN_EVENT_CRASHED => Some(Change::Paused { why: "crashed" }),
        virt_sys::VIR_DOMAIN_EVENT_RESUMED => Some(Change::Resumed),
        virt_sys::VIR_DOMAIN_EVENT_SHUTDOWN => {
            Some(Change::ShuttingDown { by_guest: detail != virt_sys::VIR_DOMAIN_EVENT_SHUTDOWN_HOST })
        }
        virt_sys::VIR_DOMAIN_EVENT_STOPPED => Some(Change::Stopped {
            why: match detail {
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => Stopped::Shutdown,
                virt_sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => Stopped::Migrated,
                _ => Stopped::Otherwise,
            },
        }),
        // Defined and undefined say nothing about what runs.
        _ => None,
    }
}

fn suspended(detail: u32) -> &'static str {
    match detail {
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED => "user",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED => "migration",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR => "ioerror",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG => "watchdog",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_RESTORED => "restored",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT => "snapshot",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR => "api_error",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY => "postcopy",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED => "postcopy_failed",
        virt_sys::VIR_DOMAIN_EVENT_SUSPENDED_GUEST_SHUTDOWN => "guest_shutdown",
        _ => "unknown",
    }
}
