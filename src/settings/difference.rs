//! What a change of the settings changes, in words.

use super::System;

/// The fields that differ, as `name: value`: what was and what is. One of them may be missing, as
/// before the first setup.
pub fn difference(before: Option<&System>, after: Option<&System>) -> (String, String) {
    let fields = |system: Option<&System>| serde_json::to_value(system).unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let names = before.as_object().or(after.as_object());
    let (mut was, mut is) = (Vec::new(), Vec::new());
    for name in names.into_iter().flat_map(|fields| fields.keys()) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        let told = |value: &serde_json::Value| !value.is_null() || (old.is_some() && new.is_some());
        let words = |value| format!("{name}: {value}");
        was.extend(old.filter(|old| told(old)).map(words));
        is.extend(new.filter(|new| told(new)).map(words));
    }
    (was.join(", "), is.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told_from_what_to_what() {
        let read = |text: &str| System::from_toml(text).expect("settings");
        let text = "protocol = 'ipv4'\nhost_name = 'one'\nipv4 = 'dhcp'\n";
        let (one, two) = (read(text), read(&text.replace("one", "two")));
        let (was, is) = difference(Some(&one), Some(&two));
        assert_eq!((&*was, &*is), ("host_name: \"one\"", "host_name: \"two\""));
        assert_eq!(difference(Some(&one), Some(&one)), Default::default());
        let (was, is) = difference(None, Some(&one));
        assert_eq!(was, "");
        assert!(
            is.contains("host_name: \"one\"") && is.contains("ipv4"),
            "{is}"
        );
        assert!(!is.contains("vlan"), "what is not set is no news: {is}");
    }
}
