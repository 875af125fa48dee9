//! The BMCs: one `ipmi_sim` per host on the bridge's own address, which the real `fence_ipmilan` talks to.
//!
//! `ipmi_sim` runs a program for each look at, or change of, the power. That program only passes the request on to the
//! lab and prints the answer. It must not start the host itself: whatever it starts inherits `ipmi_sim`'s descriptors,
//! and then `ipmi_sim` waits for the end of a pipe that a booted host holds.

use crate::keeper::{Asker, BASE, Keeper};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The user of all BMCs.
pub const USER: &str = "belay";
/// Its password.
pub const PASSWORD: &str = "lab-secret";

/// One request that reached a chassis.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was carried out.
    pub at: Instant,
    /// Whose BMC.
    pub host: String,
    /// In the words of `ipmi_sim`: `get power`, `set power 0`.
    pub request: String,
    /// What the chassis answered: `power:0`, `ok`.
    pub answer: String,
}

impl Call {
    /// Whether after this call the host's power was surely off.
    #[must_use]
    pub fn proves_off(&self) -> bool {
        matches!((self.request.as_str(), self.answer.as_str()), ("set power 0", "ok") | ("get power", "power:0"))
    }
}

/// All BMCs of a lab.
pub struct Bmcs {
    listener: TcpListener,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Bmcs {
    /// Starts one for each host; the first listens at port 623 of `address`, the others above.
    ///
    /// # Errors
    /// When `ipmi_sim` cannot be started.
    pub fn start(keeper: &Keeper, address: &'static str, hosts: &[String]) -> Result<Self> {
        // Bound by the keeper: a socket belongs to the network namespace of the thread that made it.
        let listener = keeper.ask(|_| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (door, asker, log) = (listener.try_clone()?, keeper.asker(), Arc::clone(&calls));
        std::thread::Builder::new().name("lab-bmc".to_owned()).spawn(move || serve(&door, &asker, &log))?;
        let lab_port = listener.local_addr()?.port();
        for (number, host) in hosts.iter().enumerate() {
            let (host, port) = (host.clone(), port(number));
            keeper.ask(move |machines| {
                let folder = write_settings(&host, address, port, lab_port)?;
                let paths = ["lan.conf", "commands", "state"].map(|file| format!("{folder}/{file}"));
                let arguments = ["-c", &paths[0], "-f", &paths[1], "-s", &paths[2], "-n"];
                machines.add_device(&device(&host), "ipmi_sim", &arguments, &format!("{folder}/log"))
            })?;
        }
        Ok(Self { listener, calls })
    }

    /// What has reached the chassis so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().map(|calls| calls.clone()).unwrap_or_default()
    }
}

impl Drop for Bmcs {
    fn drop(&mut self) {
        // Wakes the thread in `accept`, whose socket would keep the whole namespace.
        let _ = nix::sys::socket::shutdown(self.listener.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

/// What the keeper calls a host's BMC.
#[must_use]
pub fn device(host: &str) -> String {
    format!("bmc of {host}")
}

/// The UDP port of the BMC of the host with this number, counted from 0.
#[must_use]
pub fn port(number: usize) -> u16 {
    623 + u16::try_from(number).unwrap_or(u16::MAX - 623)
}

fn serve(door: &TcpListener, asker: &Asker, calls: &Mutex<Vec<Call>>) {
    while let Ok((stream, _)) = door.accept() {
        // A client that says nothing must not block the other BMCs.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = answer(stream, asker, calls);
    }
}

fn answer(mut stream: TcpStream, asker: &Asker, calls: &Mutex<Vec<Call>>) -> Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let (host, request) = line.trim().split_once(' ').context("a request has a host and words")?;
    let reply = match carry_out(host, request, asker) {
        Ok(reply) => reply,
        Err(error) => format!("error {error:#}"),
    };
    if let Ok(mut calls) = calls.lock() {
        let (host, request) = (host.to_owned(), request.to_owned());
        calls.push(Call { at: Instant::now(), host, request, answer: reply.clone() });
    }
    writeln!(stream, "{reply}")?;
    Ok(())
}

fn carry_out(host: &str, request: &str, asker: &Asker) -> Result<String> {
    let (host, request) = (host.to_owned(), request.to_owned());
    asker.ask(move |machines| {
        match request.as_str() {
            "get power" => return Ok(format!("power:{}", u8::from(machines.leader(&host).is_some()))),
            "set power 0" => machines.power_off(&host)?,
            "set power 1" => machines.power_on(&host)?,
            "set reset 1" => {
                machines.power_off(&host)?;
                machines.power_on(&host)?;
            }
            other => anyhow::bail!("this chassis cannot {other}"),
        }
        Ok("ok".to_owned())
    })
}

fn write_settings(host: &str, address: &str, port: u16, lab_port: u16) -> Result<String> {
    let folder = format!("{BASE}/{host}/bmc");
    std::fs::create_dir_all(format!("{folder}/state"))?;
    let program = format!("{folder}/chassis");
    std::fs::write(&program, chassis_program(host, lab_port))?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let auths = ["callback", "user", "operator", "admin"]
        .map(|level| format!("  allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    // Without a guid it refuses every IPMI 2.0 session.
    let settings = format!(
        "name \"{host}\"\n\
         set_working_mc 0x20\n \
         startlan 1\n  addr {address} {port}\n  priv_limit admin\n{auths}  \
         guid be1a00000000000000000000000{port:05}\n endlan\n \
         chassis_control \"{program}\"\n \
         user 1 true \"\" \"\" user 10 none md2 md5 straight\n \
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n"
    );
    std::fs::write(format!("{folder}/lan.conf"), settings)?;
    let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n";
    std::fs::write(format!("{folder}/commands"), commands)?;
    Ok(folder)
}

/// `ipmi_sim` adds the request to its arguments: `get power`.
fn chassis_program(host: &str, lab_port: u16) -> String {
    format!(
        "#!/bin/bash\n\
         exec 9<>/dev/tcp/127.0.0.1/{lab_port} || exit 1\n\
         echo \"{host} $*\" >&9\n\
         IFS= read -r -t 20 answer <&9 || exit 1\n\
         case $answer in\n\
           error*) echo \"$answer\" >&2; exit 1 ;;\n\
           ok) ;;\n\
           *) echo \"$answer\" ;;\n\
         esac\n"
    )
}
