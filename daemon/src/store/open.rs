//! Opening the file: who may use it, whether it is ours, whole and of a layout we know. Until all of that is certain,
//! nothing in it is changed; a store that is refused can still be read by whatever wrote it.

use super::error::StoreError;
use super::schema::{APPLICATION_ID, CREATE, LAYOUT};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "belay.db";

/// How long to wait for the lock of a predecessor that is just dying: a program it was about to start holds a copy of
/// the lock until it has executed.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How long a write waits for an admin's transaction before it fails as busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// The state directory, locked for one daemon. The lock is on the directory itself: it needs no file, so it works on a
/// full disk, and the kernel drops it however the daemon ends.
pub(super) fn lock(dir: &Path) -> Result<Flock<File>, StoreError> {
    let refuse = |detail: String| StoreError::Directory { dir: dir.to_owned(), detail };
    // The configuration in the entries holds fence passwords, hence nobody but root may look.
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| refuse(e.to_string()))?;
    let mut handle = File::open(dir).map_err(|e| refuse(e.to_string()))?;
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < give_up => {
                handle = back;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err((_, Errno::EWOULDBLOCK)) => return Err(StoreError::InUse { dir: dir.to_owned() }),
            Err((_, errno)) => return Err(refuse(errno.to_string())),
        }
    }
}

/// Opens the file for writing, creating it if there is none. The caller holds the lock.
pub(super) fn open(dir: &Path) -> Result<(Connection, PathBuf), StoreError> {
    let file = dir.join(FILE_NAME);
    match header(&file)? {
        None => create_empty(&file)?,
        Some(header) => check_header(&file, &header)?,
    }
    let failed = |e: rusqlite::Error| StoreError::from_sqlite(&file, &e);
    let conn = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(failed)?;
    // Closing the last connection would move the log into the file; of a file that we end up refusing, nothing moves.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    conn.busy_timeout(BUSY_PATIENCE).map_err(failed)?;
    // Also 0 when a daemon was killed while it created the layout and SQLite has just rolled that back.
    if layout(&conn).map_err(failed)? == 0 {
        create_layout(&conn).map_err(failed)?;
        sync_directory(dir)?;
    }
    check_whole(&conn, &file)?;
    // Every commit is on the disk before it returns: that is what an acknowledgement stands for (design S5).
    conn.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    Ok((conn, file))
}

/// Opens the file a second time, to read while the writer writes.
pub(super) fn open_to_read(file: &Path) -> Result<Connection, StoreError> {
    let failed = |e: rusqlite::Error| StoreError::from_sqlite(file, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(failed)?;
    conn.busy_timeout(BUSY_PATIENCE).map_err(failed)?;
    Ok(conn)
}

/// From now on, closing tidies up the log.
pub(super) fn accept(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map(|_| ())
        .map_err(|e| StoreError::from_sqlite(file, &e))
}

/// The file's first 100 bytes, fewer if it is shorter, `None` if there is no file.
///
/// They are read as plain bytes, without SQLite, since SQLite may write when it opens a file.
fn header(file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |e: std::io::Error| StoreError::Disk { file: file.to_owned(), detail: e.to_string() };
    let handle = match File::open(file) {
        Ok(handle) => handle,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    handle.take(100).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Refuses what is not ours. An empty file is: a daemon was killed between making it and its first commit.
fn check_header(file: &Path, header: &[u8]) -> Result<(), StoreError> {
    let foreign = |detail: &str| StoreError::Foreign { file: file.to_owned(), detail: detail.to_owned() };
    if header.is_empty() {
        return Ok(());
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign("it does not begin as a SQLite file does"));
    }
    let number = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    let (Some(layout), Some(application)) = (number(60), number(68)) else {
        return Err(StoreError::Damaged { file: file.to_owned(), detail: "it ends within its header".to_owned() });
    };
    if application != APPLICATION_ID {
        return Err(foreign("it is a SQLite file of another program"));
    }
    if layout > LAYOUT {
        return Err(StoreError::Newer { file: file.to_owned(), found: layout, known: LAYOUT });
    }
    if layout == 0 {
        return Err(foreign("it carries no layout number"));
    }
    Ok(())
}

fn layout(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// An empty file that only root can read. SQLite gives its log the same mode.
fn create_empty(file: &Path) -> Result<(), StoreError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map(|_| ()).map_err(|e| {
        let (file, detail) = (file.to_owned(), e.to_string());
        if e.kind() == std::io::ErrorKind::StorageFull {
            StoreError::Full { file, detail }
        } else {
            StoreError::Disk { file, detail }
        }
    })
}

/// One transaction, and not yet with a log: so the header on disk has our mark and layout number from the first
/// moment there is anything else in the file, and [`check_header`] can rely on it.
fn create_layout(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {LAYOUT}; {CREATE} COMMIT;"
    ))
}

/// The new file's name must survive a power cut as well as its content.
fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    for dir in [Some(dir), dir.parent()].into_iter().flatten().filter(|dir| !dir.as_os_str().is_empty()) {
        let synced = File::open(dir).and_then(|handle| handle.sync_all());
        synced.map_err(|e| StoreError::Directory { dir: dir.to_owned(), detail: e.to_string() })?;
    }
    Ok(())
}

fn check_whole(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let verdict: String =
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|e| StoreError::from_sqlite(file, &e))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged { file: file.to_owned(), detail: verdict }) }
}
