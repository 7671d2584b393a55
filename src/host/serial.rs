//! The serial number: the machine's own where its maker wrote one, else one made once and kept.

use super::HostError;
use super::place::{self, Mode, Place};

const LIMIT: u64 = 4096;
/// Letters and digits that nobody takes for one another (Crockford's base 32).
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The serial number of this system; also told to everybody in the run directory.
pub fn publish(place: &Place) -> Result<String, HostError> {
    let serial = find(place)?;
    place::write(
        &place.run.join("serial"),
        serial.as_bytes(),
        Mode::Public,
        None,
    )?;
    Ok(serial)
}

fn find(place: &Place) -> Result<String, HostError> {
    // Readable by root only, absent without SMBIOS; an unreadable one counts as none.
    let made = place::read(&place.path("sys/class/dmi/id/product_serial"), LIMIT);
    if let Some(made) = made.ok().flatten().filter(|text| is_real(text.trim())) {
        return Ok(made.trim().to_owned());
    }
    let kept = place.kept("serial");
    if let Some(text) = place::read(&kept, LIMIT)?.filter(|text| is_real(text.trim())) {
        return Ok(text.trim().to_owned());
    }
    let mut random = [0u8; 10];
    getrandom::fill(&mut random).map_err(|e| HostError::Random(e.to_string()))?;
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte & 31)]);
    let serial: String = "TT".chars().chain(random.into_iter().map(letter)).collect();
    place::write(&kept, serial.as_bytes(), Mode::Public, None)?;
    Ok(serial)
}

/// Whether a text is a serial number and not what boards carry whose maker never wrote one.
fn is_real(text: &str) -> bool {
    const NONE: &[&str] = &[
        "none",
        "null",
        "n/a",
        "na",
        "default",
        "default string",
        "not specified",
        "not available",
        "not applicable",
        "unknown",
        "empty",
        "system serial number",
        "serial number",
        "chassis serial number",
        "to be filled by o.e.m.",
        "to be filled by oem",
        "o.e.m.",
        "oem",
        "invalid",
        "0123456789",
        "123456789",
        "1234567890",
        "sernum0",
        "serial",
    ];
    let fine = (4..=64).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let first = text.bytes().next().unwrap_or(0);
    fine && !NONE.contains(&text.to_ascii_lowercase().as_str()) && text.bytes().any(|b| b != first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Dirs;

    fn place(dir: &std::path::Path) -> Place {
        let dirs = Dirs {
            run: dir.join("run"),
            state: dir.join("state"),
        };
        Place::new(dir.join("root"), &dirs)
    }

    #[test]
    fn a_real_number_of_the_machine_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let id = dir.path().join("root/sys/class/dmi/id");
        std::fs::create_dir_all(&id).unwrap();
        std::fs::write(id.join("product_serial"), "VMware-56 4d 1c 9a 0b\n").unwrap();
        assert_eq!(
            publish(&place(dir.path())).unwrap(),
            "VMware-56 4d 1c 9a 0b"
        );
        let told = std::fs::read_to_string(dir.path().join("run/serial")).unwrap();
        assert_eq!(told, "VMware-56 4d 1c 9a 0b");
    }

    #[test]
    fn what_makers_forgot_to_fill_in_is_replaced_once_and_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let id = dir.path().join("root/sys/class/dmi/id");
        std::fs::create_dir_all(&id).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for text in [
            "",
            "Not Specified\n",
            "To Be Filled By O.E.M.",
            "00000000",
            "  \n",
            "\u{1}bad",
        ] {
            std::fs::write(id.join("product_serial"), text).unwrap();
            seen.insert(publish(&place(dir.path())).unwrap());
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
        let serial = seen.pop_first().unwrap();
        assert!(serial.len() == 12 && serial.starts_with("TT"), "{serial}");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(publish(&place(other.path())).unwrap(), serial);
    }
}
