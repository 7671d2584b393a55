//! `tutti setup`: the first-boot wizard on a terminal, the unattended first boot, and the lines
//! that the console shows.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use super::paper::{Paper, say};
use super::preflight;
use crate::host::changes::By;
use crate::host::first_boot::{self, Record, Source};
use crate::host::{HostError, Kept, Place, is_configured, trial};
use crate::node::ipc::Connection;
use crate::node::{Dirs, serve};
use crate::settings::file::{self, SetupFile};
use crate::settings::message::{HostReply, HostRequest, TRIAL_S};
use crate::settings::{SettingsError, System};
use crate::setup::{Question, Reply, Wizard};
use crate::sys::release;
use crate::sys::terminal::{Hidden, addresses, wait_readable};

/// The credential of an unattended first boot.
const CREDENTIAL: &str = "tutti.setup";
/// Another, saying where that came from if not from the machine's firmware.
const ORIGIN: &str = "tutti.origin";
/// The longest line taken from a console, in bytes.
const LINE_MAX: usize = 4096;

/// One of these at a time.
const MODES: [&str; 5] = [
    "console",
    "unattended",
    "status",
    "confirm",
    "keep_password",
];

/// Options of `tutti setup`.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("mode").args(MODES)))]
pub struct Args {
    /// Ask on this terminal (the default).
    #[arg(long)]
    console: bool,
    /// Take the systemd credential `tutti.setup`, if there is one and nothing was set up yet.
    /// Best run before `tutti host` and before the network.
    #[arg(long)]
    unattended: bool,
    /// Show name, addresses and URL.
    #[arg(long)]
    status: bool,
    /// Change the settings of a system that is set up; passwords and cluster stay.
    #[arg(long)]
    again: bool,
    /// Keep a change of the network that would else be put back.
    #[arg(long)]
    confirm: bool,
    /// Have the root password kept that passwd(1) wrote.
    #[arg(long, hide = true)]
    keep_password: bool,
    /// Write below this directory instead of `/`, and run no command.
    #[arg(long, default_value = "/")]
    root: PathBuf,
}

/// Why setup ended early.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The host actions failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The unattended answers are not acceptable.
    #[error("{0} was refused: {1}. The console asks instead")]
    Refused(String, SettingsError),
    /// The unattended answers could not be read.
    #[error("{0} cannot be read: {1}. The console asks instead")]
    Credential(String, io::Error),
    /// The host role refused or does not answer.
    #[error("the host role: {0}")]
    Role(String),
    /// The terminal failed or ended.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Runs the wizard, or the unattended first boot, or shows the state.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let place = Place::new(args.root.clone(), dirs);
    if args.status {
        print!("{}", status(&place)?);
        return Ok(());
    }
    if args.confirm {
        ask_host(dirs, HostRequest::Confirm)?;
        println!("The new settings stay.");
        return Ok(());
    }
    if args.keep_password {
        return Ok(ask_host(dirs, HostRequest::KeepRootPassword)?);
    }
    if args.unattended {
        unattended(
            &place,
            env::var_os("CREDENTIALS_DIRECTORY")
                .as_deref()
                .map(Path::new),
        )?;
        return Ok(());
    }
    Ok(console(dirs, &place, args.again)?)
}

/// The unattended first boot: without a credential, or once set up, it does nothing.
pub fn unattended(place: &Place, credentials: Option<&Path>) -> Result<(), SetupError> {
    let Some(path) = credentials
        .map(|dir| dir.join(CREDENTIAL))
        .filter(|p| p.exists())
    else {
        tracing::info!("no credential {CREDENTIAL}: the console asks");
        return Ok(());
    };
    if is_configured(place) {
        tracing::info!("this system is set up: the credential {CREDENTIAL} is not looked at");
        return Ok(());
    }
    let origin = credentials.map_or_else(String::new, origin);
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| {
            file.take(file::SIZE_MAX as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| SetupError::Credential(origin.clone(), error))?;
    let setup =
        SetupFile::from_toml(&text).map_err(|why| SetupError::Refused(origin.clone(), why))?;
    first_boot::complete(place, &setup, Source::Unattended(origin.clone()))?;
    if let Err(error) = first_boot::apply(place, &setup.system) {
        // Kept and rendered all the same: what has not started yet finds it.
        tracing::warn!(%error, "not everything is in force before a restart");
    }
    tracing::info!(name = setup.system.host_name, "set up by {origin}");
    Ok(())
}

/// Where an unattended file came from, in words that any terminal shows.
fn origin(credentials: &Path) -> String {
    let said = fs::read_to_string(credentials.join(ORIGIN)).unwrap_or_default();
    let fine = |c: &char| (' '..='~').contains(c);
    let said: String = said.trim().chars().filter(fine).take(80).collect();
    if said.is_empty() {
        return format!("the credential {CREDENTIAL}");
    }
    said
}

/// One line from the terminal.
enum Line {
    Text(Zeroizing<String>),
    /// Ctrl-D on an empty line, or a closed input.
    End,
    /// Meanwhile the other console was used.
    SetUpElsewhere,
}

fn console(dirs: &Dirs, place: &Place, again: bool) -> Result<(), SetupError> {
    if is_configured(place) && !again {
        return Err(HostError::AlreadySetUp.into());
    }
    let paper = Paper::of_output();
    let mut ends = 0;
    'over: loop {
        let present = if again {
            Kept::load(place)?.system
        } else {
            None
        };
        let title = paper.heading(match &present {
            Some(_) => "Tutti setup, again: passwords and cluster stay as they are",
            None => "Tutti first-boot setup",
        });
        say(&format!("\n{title}\n"))?;
        for words in first_boot::disk_problems(place) {
            say(&format!("{}\n", paper.wrong(&format!("! {words}"))))?;
        }
        let keys = "Enter takes the answer in [brackets], \"<\" goes back, Ctrl-D starts over.";
        say(&format!("{}\n\n", paper.text(keys)))?;
        let zones = zones(&place.path("usr/share/zoneinfo"));
        let mut wizard = match &present {
            Some(present) => Wizard::again(zones, present),
            None => Wizard::new(zones),
        };
        loop {
            let question = wizard.question();
            let line = match ask(place, &question, &paper, again)? {
                Line::Text(text) => text,
                Line::SetUpElsewhere => {
                    say("\n\nThis system was set up on another console.\n")?;
                    return Ok(());
                }
                Line::End => {
                    ends += 1;
                    // A terminal that hung up ends again and again.
                    if !io::stdin().is_terminal() || ends > 20 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    say("\n\nStarting over.\n")?;
                    continue 'over;
                }
            };
            ends = 0;
            match wizard.answer(&line) {
                Reply::Next => {}
                Reply::Refused(expected) => {
                    let words = paper.wrong(&format!("  Expected {expected}."));
                    say(&format!("{words}\n"))?;
                }
                Reply::StartOver => continue 'over,
                Reply::Finished(setup) => return finish(dirs, place, &setup),
                Reply::Changed(system) => return change(dirs, place, present.as_ref(), *system),
            }
        }
    }
}

/// Applies changed settings: at the console for good, through SSH on trial where they may end it.
fn change(
    dirs: &Dirs,
    place: &Place,
    present: Option<&System>,
    system: System,
) -> Result<(), SetupError> {
    say("\nApplying the settings ...\n")?;
    let remote = env::var_os("SSH_CONNECTION").is_some();
    if remote && present.is_some_and(|present| present.moves(&system)) {
        say(&format!(
            "This session may end now. Log in at the new address and run\n\
             tutti setup --confirm\n\
             within {TRIAL_S} seconds, else the settings of before come back.\n"
        ))?;
        return ask_host(dirs, HostRequest::Try(system));
    }
    let by = By::Root("console");
    first_boot::change(place, &system, by)?;
    // Whoever sits at the console cannot lose it: this ends any trial.
    trial::confirm(place, by)?;
    say(&status(place)?)?;
    Ok(())
}

/// Has the running host role do something.
fn ask_host(dirs: &Dirs, request: HostRequest) -> Result<(), SetupError> {
    let failed = |error: &dyn std::fmt::Display| SetupError::Role(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = dirs.run.join(serve::host::SOCKET);
    runtime.block_on(async {
        let connected = Connection::<HostRequest, HostReply>::connect(&path).await;
        let mut host = connected.map_err(|e| failed(&e))?;
        host.send(&request).await.map_err(|e| failed(&e))?;
        match host.recv().await.map_err(|e| failed(&e))? {
            Some(HostReply::Failed(why)) => Err(SetupError::Role(why)),
            Some(_) => Ok(()),
            None => Err(failed(&"it closed the connection")),
        }
    })
}

fn finish(dirs: &Dirs, place: &Place, setup: &SetupFile) -> Result<(), SetupError> {
    say("\nApplying the settings ...\n")?;
    first_boot::complete(place, setup, Source::Console)?;
    if let Err(error) = first_boot::apply(place, &setup.system) {
        // Kept and rendered all the same: the next boot has them.
        say(&format!(
            "Kept, but not yet in force: {error}.\nRestart the system to apply them.\n"
        ))?;
    }
    say(&status(place)?)?;
    if setup.cluster.is_some() && place.is_this_system() {
        preflight::show(dirs)?;
    }
    Ok(())
}

fn ask(place: &Place, question: &Question, paper: &Paper, again: bool) -> Result<Line, SetupError> {
    if !question.help.is_empty() {
        say(&format!("\n{}\n", paper.text(&question.help)))?;
    }
    let prompt = paper.prompt(&question.prompt, question.default.as_deref());
    let input = io::stdin();
    // Before the prompt: whoever answers it at once must be neither shown nor flushed away.
    let _hidden = question.secret.then(|| Hidden::new(input.as_fd()));
    say(&prompt)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    loop {
        if !wait_readable(&input, 1000)? {
            if is_configured(place) && !again {
                return Ok(Line::SetUpElsewhere);
            }
            continue;
        }
        let mut byte = [0u8];
        // One byte at a time, past the buffer of `stdin`: poll cannot see what that holds.
        if read_byte(&mut byte)? == 0 {
            return Ok(Line::End);
        }
        match byte[0] {
            b'\n' => break,
            _ if bytes.len() < LINE_MAX => bytes.push(byte[0]),
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Line::Text(Zeroizing::new(text)))
}

fn read_byte(byte: &mut [u8; 1]) -> io::Result<usize> {
    let file = io::stdin().as_fd().try_clone_to_owned()?;
    fs::File::from(file).read(byte)
}

/// The names in the zone database's compact form, `Z name ...` and `L target name`, as far as
/// their files are installed.
fn zones(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("tzdata.zi")).unwrap_or_default();
    let name = |line: &str| {
        let mut words = line.split(' ');
        match words.next()? {
            "Z" => words.next().map(str::to_owned),
            "L" => words.nth(1).map(str::to_owned),
            _ => None,
        }
    };
    let mut found: Vec<String> = text.lines().filter_map(name).collect();
    found.retain(|name| dir.join(name).is_file());
    if !found.is_empty() {
        found.push("UTC".into());
    }
    found
}

/// What the console shows: name, addresses, URL.
fn status(place: &Place) -> Result<String, SetupError> {
    let Some(system) = Kept::load(place)?.system else {
        return Ok("Tutti: not set up yet\n".into());
    };
    let mut all = system.fixed_addresses();
    if place.is_this_system() {
        for address in addresses()? {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    let listed = |all: &[IpAddr]| {
        let words: Vec<String> = all.iter().map(IpAddr::to_string).collect();
        words.join(" ")
    };
    let mut text = format!("Tutti {} on {}\n", release::version(), system.full_name());
    match all.first() {
        None => text += "  Address   none yet: no DHCP lease\n",
        Some(first) => {
            text += &format!("  Address   {}\n", listed(&all));
            text += &match first {
                IpAddr::V4(v4) => format!("  URL       https://{v4}/\n"),
                IpAddr::V6(v6) => format!("  URL       https://[{v6}]/\n"),
            };
        }
    }
    if let Some(record) = Record::load(place) {
        text += &format!("  Set up by {}\n", record.from);
    }
    Ok(text)
}
