//! `tutti secure-boot`: what was judged before this system ran, and going over to the keys of the
//! image's builder.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;

use crate::host::Place;
use crate::host::changes::{self, By};
use crate::node::Dirs;
use crate::sys::efi::{self, Start};

/// Where the ESP is mounted when it is looked at.
const ESP: &str = "/efi";
/// What the firmware starts, and what it can be: Debian's shim, or the builder's own boot loader.
const STARTED: &str = "EFI/BOOT/BOOTX64.EFI";
const OWN: &str = "EFI/tutti/grubx64.efi";
const STOCK: &str = "EFI/tutti/shimx64.efi";

/// Options of `tutti secure-boot`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Changes which boot loader the firmware starts next time (root).
    #[arg(long = "use", value_name = "KEYS")]
    keys: Option<Keys>,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keys {
    /// The builder's: the firmware must trust his certificate (tutti.cer on the ESP).
    Own,
    /// Those that computers are sold with.
    Stock,
}

type Failure = Box<dyn std::error::Error>;

/// Shows how this system was started; changes how it will be.
pub fn run(dirs: &Dirs, args: Args) -> Result<(), Failure> {
    if let Some(keys) = args.keys {
        if keys == Keys::Own && !efi::trusts_builder()? {
            return Err(
                "the firmware does not trust the builder's certificate yet, so it would \
                        start nothing: add tutti.cer, on the ESP, to its keys (db) first"
                    .into(),
            );
        }
        let before = named(Path::new(ESP))?;
        change(Path::new(ESP), keys)?;
        let after = named(Path::new(ESP))?;
        let place = Place::new("/".into(), dirs);
        let (by, words) = (
            By::Root("tutti secure-boot"),
            "Boot loader of the next start chosen",
        );
        changes::note_words(&place, by, words, (before.into(), after.into()));
    }
    let start = efi::start()?;
    if args.json {
        let next = args.keys.map(|keys| format!("{keys:?}").to_lowercase());
        let shown = serde_json::json!({ "start": start, "words": start.words(), "next": next });
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("{}", start.words());
    match (args.keys, start) {
        (Some(Keys::Own), _) => println!("The next start is by the builder's keys: tutti reboot"),
        (Some(Keys::Stock), _) => println!("The next start is by stock keys."),
        (None, Start::StockKeys) => println!(
            "To level 2: add tutti.cer, on the ESP, to the firmware's keys (db), then tutti \
             secure-boot --use own"
        ),
        _ => {}
    }
    Ok(())
}

/// Whose boot loader the firmware starts next.
fn named(esp: &Path) -> io::Result<&'static str> {
    let started = std::fs::read(esp.join(STARTED))?;
    Ok(match std::fs::read(esp.join(OWN))? == started {
        true => "the builder's keys",
        false => "stock keys",
    })
}

/// Puts the boot loader of these keys where the firmware looks. What lies there is whole at every
/// moment.
fn change(esp: &Path, keys: Keys) -> io::Result<()> {
    let source = match keys {
        Keys::Own => OWN,
        Keys::Stock => STOCK,
    };
    let bytes = std::fs::read(esp.join(source))?;
    let fresh = esp.join("EFI/BOOT/BOOTX64.NEW");
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .to_owned();
    let mut file: File = options.open(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, esp.join(STARTED))?;
    File::open(esp.join("EFI/BOOT"))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_loader_of_either_keys_takes_the_place() {
        let esp = tempfile::tempdir().unwrap();
        for (name, text) in [(STARTED, "shim"), (STOCK, "shim"), (OWN, "own")] {
            let path = esp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let started = || std::fs::read_to_string(esp.path().join(STARTED)).unwrap();
        change(esp.path(), Keys::Own).unwrap();
        assert_eq!(started(), "own");
        assert_eq!(named(esp.path()).unwrap(), "the builder's keys");
        change(esp.path(), Keys::Stock).unwrap();
        assert_eq!(started(), "shim");
        assert_eq!(named(esp.path()).unwrap(), "stock keys");
        std::fs::remove_file(esp.path().join(OWN)).unwrap();
        assert!(change(esp.path(), Keys::Own).is_err());
        assert_eq!(started(), "shim");
    }
}
