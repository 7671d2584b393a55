//! Whatever text stands in a settings field: it is refused, or no rendered file can be subverted.

use proptest::prelude::*;
use tutti::settings::file::SetupFile;
use tutti::settings::render::{Content, files};
use tutti::settings::{Addressing4, Protocol, System};

/// Text that likes to break out of a line, of quotation marks, of a shell, of a path.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-z0-9.-]{1,20}",
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\0".to_owned()),
        Just("../".to_owned()),
        Just("$(reboot)".to_owned()),
        Just("`id`".to_owned()),
        Just("; rm -rf /".to_owned()),
        Just("\" }".to_owned()),
        Just(" iburst".to_owned()),
        Just("#".to_owned()),
        Just("%n".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("x".repeat(300)),
        any::<String>(),
    ];
    prop::collection::vec(part, 0..3).prop_map(|parts| parts.concat())
}

/// A name that is often fine.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z][a-z0-9]{0,8}", 1 => hostile()]
}

prop_compose! {
    fn system()(
        host_name in name(),
        domain_name in name(),
        time_zone in name(),
        interface in prop::option::of(name()),
        ntp_servers in prop::collection::vec(name(), 0..4),
        ssh in any::<bool>(),
    ) -> System {
        System {
            protocol: Protocol::Ipv4,
            interface,
            vlan: None,
            host_name,
            domain_name,
            dns_servers: Vec::new(),
            ntp_servers,
            time_zone,
            ssh,
            ipv4: Some(Addressing4::Dhcp),
            ipv6: None,
            routes: Vec::new(),
            syslog: None,
        }
    }
}

proptest! {
    #[test]
    fn what_is_accepted_renders_into_as_many_plain_lines_as_ever(system in system()) {
        prop_assume!(system.validate().is_ok());
        let plain = System {
            host_name: "a".into(),
            domain_name: if system.domain_name.is_empty() { "" } else { "b" }.into(),
            time_zone: "UTC".into(),
            interface: system.interface.as_ref().map(|_| "eth0".into()),
            ntp_servers: system.ntp_servers.iter().map(|_| "c".into()).collect(),
            ..system.clone()
        };
        for (file, like) in files(&system, None).into_iter().zip(files(&plain, None)) {
            match (file.content, like.content) {
                (Some(Content::Text(text)), Some(Content::Text(like))) => {
                    prop_assert_eq!(text.lines().count(), like.lines().count());
                    let words = |text: &str| text.split_whitespace().count();
                    prop_assert_eq!(words(&text), words(&like), "{}", text);
                    prop_assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)));
                }
                (Some(Content::Link(target)), Some(Content::Link(_))) => {
                    prop_assert!(target.starts_with("/usr/share/zoneinfo/"));
                    prop_assert!(!target.contains(".."));
                }
                (file, like) => prop_assert_eq!(file, like),
            }
        }
    }

    #[test]
    fn what_was_kept_reads_back_the_same(system in system()) {
        prop_assume!(system.validate().is_ok());
        let text = system.to_toml().expect("writable");
        prop_assert_eq!(System::from_toml(&text).expect("readable"), system);
    }

    #[test]
    fn any_setup_file_is_read_or_refused(text in any::<String>(), line in hostile()) {
        let _ = SetupFile::from_toml(&text);
        let _ = SetupFile::from_toml(&format!("protocol = \"ipv4\"\nhost_name = {line}\n"));
    }

    #[test]
    fn refusals_do_not_repeat_secrets(secret in "[a-z]{3}SECRET[a-z]{3}", rest in hostile()) {
        for text in [
            format!("admin_password = {secret}\n"),
            format!("admin_password = \"{secret}\n"),
            format!("admin_password = [\"{secret}\"]\n"),
            format!("root_password = \"{secret}\"\nhost_name = {rest}\n"),
            format!("cluster = {{ key = {secret} }}\n"),
            format!("cluster = \"{secret}\"\n"),
            format!("admin_password = \"\"\"\n{secret}\"\"\" {secret}\n"),
            format!("ssh = \"{secret}\"\n"),
        ] {
            if let Err(error) = SetupFile::from_toml(&text) {
                prop_assert!(!error.to_string().contains("SECRET"), "{}", error);
            }
        }
    }
}
