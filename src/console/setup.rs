//! `tutti setup`: the first-boot wizard on a terminal, the unattended first boot, and the lines
//! that the console shows.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::host::first_boot::{self, Source};
use crate::host::{HostError, Kept, Place, is_configured};
use crate::node::Dirs;
use crate::settings::SettingsError;
use crate::settings::file::{self, SetupFile};
use crate::setup::{Question, Reply, Wizard};
use crate::sys::terminal::{Hidden, addresses, wait_readable};

/// The credential of an unattended first boot.
const CREDENTIAL: &str = "tutti.setup";
/// The longest line taken from a console, in bytes.
const LINE_MAX: usize = 4096;

/// Options of `tutti setup`.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("mode").args(["console", "unattended", "status"])))]
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
    #[error("the credential {CREDENTIAL} was refused: {0}")]
    Refused(#[from] SettingsError),
    /// The unattended answers could not be read.
    #[error("the credential {CREDENTIAL} cannot be read: {0}")]
    Credential(io::Error),
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
    if args.unattended {
        unattended(
            &place,
            env::var_os("CREDENTIALS_DIRECTORY")
                .as_deref()
                .map(Path::new),
        )?;
        return Ok(());
    }
    Ok(console(&place, args.again)?)
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
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| {
            file.take(file::SIZE_MAX as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(SetupError::Credential)?;
    let setup = SetupFile::from_toml(&text)?;
    first_boot::complete(place, &setup, Source::Unattended)?;
    if let Err(error) = first_boot::apply(place, &setup.system) {
        // Kept and rendered all the same: what has not started yet finds it.
        tracing::warn!(%error, "not everything is in force before a restart");
    }
    tracing::info!(
        name = setup.system.host_name,
        "set up by the credential {CREDENTIAL}"
    );
    Ok(())
}

/// One line from the terminal.
enum Line {
    Text(Zeroizing<String>),
    /// Ctrl-D on an empty line, or a closed input.
    End,
    /// Meanwhile the other console was used.
    SetUpElsewhere,
}

fn console(place: &Place, again: bool) -> Result<(), SetupError> {
    if is_configured(place) && !again {
        return Err(HostError::AlreadySetUp.into());
    }
    let mut ends = 0;
    'over: loop {
        let present = if again {
            Kept::load(place)?.system
        } else {
            None
        };
        say(match &present {
            Some(_) => "\nTutti setup, again: passwords and cluster stay as they are\n",
            None => "\nTutti first-boot setup\n",
        })?;
        say("Enter takes the answer in [brackets], \"<\" goes back, Ctrl-D starts over.\n\n")?;
        let zones = zones(&place.path("usr/share/zoneinfo"));
        let mut wizard = match &present {
            Some(present) => Wizard::again(zones, present),
            None => Wizard::new(zones),
        };
        loop {
            let question = wizard.question();
            let line = match ask(place, &question, again)? {
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
                Reply::Refused(expected) => say(&format!("  Expected {expected}.\n"))?,
                Reply::StartOver => continue 'over,
                Reply::Finished(setup) => return finish(place, &setup),
                Reply::Changed(system) => {
                    say("\nApplying the settings ...\n")?;
                    first_boot::change(place, &system)?;
                    say(&status(place)?)?;
                    return Ok(());
                }
            }
        }
    }
}

fn finish(place: &Place, setup: &SetupFile) -> Result<(), SetupError> {
    say("\nApplying the settings ...\n")?;
    first_boot::complete(place, setup, Source::Console)?;
    if let Err(error) = first_boot::apply(place, &setup.system) {
        // Kept and rendered all the same: the next boot has them.
        say(&format!(
            "Kept, but not yet in force: {error}.\nRestart the system to apply them.\n"
        ))?;
    }
    say(&status(place)?)?;
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn ask(place: &Place, question: &Question, again: bool) -> Result<Line, SetupError> {
    if !question.help.is_empty() {
        say(&format!("\n{}\n", question.help))?;
    }
    let default = question.default.as_ref();
    let default = default.map_or(String::new(), |d| format!(" [{d}]"));
    let input = io::stdin();
    // Before the prompt: whoever answers it at once must be neither shown nor flushed away.
    let _hidden = question.secret.then(|| Hidden::new(input.as_fd()));
    say(&format!("{}{default}: ", question.prompt))?;
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
    let mut text = format!(
        "Tutti {} on {}\n",
        env!("CARGO_PKG_VERSION"),
        system.full_name()
    );
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
    Ok(text)
}
