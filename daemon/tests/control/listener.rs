//! The socket in the file system.

use belayd::control::{ControlListenError, bind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn everybody_can_get_to_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let socket = folder.path().join("run/belay/control.sock");
    let listener = bind(&socket).unwrap();
    assert_eq!(mode(&socket), 0o666);
    assert_eq!(mode(socket.parent().unwrap()), 0o755);
    assert_eq!(mode(folder.path()), 0o700, "a folder that was there is left alone");
    UnixStream::connect(&socket).unwrap();
    drop(listener);
    assert!(!socket.exists());
}

#[test]
fn the_socket_of_a_killed_daemon_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    // Closed without being removed, as by a kill.
    drop(UnixListener::bind(&socket).unwrap());
    let _listener = bind(&socket).unwrap();
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn a_living_daemons_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let first = bind(&socket).unwrap();
    let error = bind(&socket).unwrap_err();
    assert!(matches!(error, ControlListenError::InUse(_)), "{error}");
    UnixStream::connect(&socket).unwrap();
    drop(first);
    bind(&socket).unwrap();

    // One that something else than belayd serves, even if it accepts nothing and its queue is full.
    let foreign = folder.path().join("foreign.sock");
    let listener = UnixListener::bind(&foreign).unwrap();
    let error = bind(&foreign).unwrap_err();
    assert!(matches!(error, ControlListenError::InUse(_)), "{error}");
    drop(listener);
}

#[test]
fn a_file_that_is_no_socket_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control.sock");
    std::fs::write(&file, "precious").unwrap();
    let error = bind(&file).unwrap_err();
    assert!(matches!(error, ControlListenError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_path_that_cannot_be_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = bind(&file.join("control.sock")).unwrap_err().to_string();
    assert!(error.contains("file") && error.starts_with("cannot make the control socket"), "{error}");
    let long = folder.path().join("x".repeat(200)).join("control.sock");
    assert!(matches!(bind(&long), Err(ControlListenError::Io { .. })));
}
