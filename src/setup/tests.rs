//! The wizard through its good path, through every wrong answer, back, and over.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const GOOD: &[(&str, &str)] = &[
    ("IP protocol", "both"),
    ("IPv4 address by", "static"),
    ("IPv4 address", "192.0.2.11"),
    ("IPv4 mask", "255.255.255.0"),
    ("IPv4 gateway", "192.0.2.1"),
    ("IPv6 address by", ""),
    ("IPv6 address", "2001:db8::11"),
    ("IPv6 prefix", "/64"),
    ("IPv6 gateway", "fe80::1"),
    ("DNS servers", "192.0.2.53, 2001:db8::53"),
    ("Host name", "One"),
    ("Domain name", "lab.test"),
    ("NTP servers", "ntp.lab.test 192.0.2.1"),
    ("Time zone", "europe/oslo"),
    ("Password of admin", "blue-Harbour-41-cello"),
    ("The same", "blue-Harbour-41-cello"),
    ("Password of root", "seven Quiet 5 turbines"),
    ("The same", "seven Quiet 5 turbines"),
    ("SSH on", "yes"),
    ("Set up a cluster", "yes"),
    ("Peer addresses", "192.0.2.11 192.0.2.12"),
    ("Cluster pre-shared key", "kQ7-pP2-wL9-tR4-uU1"),
];

fn wizard() -> Wizard {
    Wizard::new(vec!["UTC".into(), "Europe/Oslo".into()])
}

/// A wizard that has taken the first answers of [`GOOD`] up to the one asking `until`.
fn at(until: &str) -> Wizard {
    let mut wizard = wizard();
    for (prompt, answer) in GOOD {
        let asked = wizard.question().prompt;
        assert!(asked.starts_with(prompt), "{asked:?} instead of {prompt:?}");
        if asked.starts_with(until) {
            break;
        }
        assert_eq!(wizard.answer(answer), Reply::Next, "{prompt}");
    }
    wizard
}

#[test]
fn the_good_path_ends_in_a_setup() {
    let mut wizard = at("\"apply\"");
    let summary = wizard.question().help;
    for part in [
        "192.0.2.11/24, 192.0.2.1",
        "2001:db8::11/64, fe80::1",
        "one",
        "Europe/Oslo",
    ] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    assert!(!summary.contains("cello") && !summary.contains("kQ7"));
    let Reply::Finished(setup) = wizard.answer("apply") else {
        panic!("not finished");
    };
    assert_eq!(setup.validate(), Ok(()));
    assert_eq!(setup.system.host_name, "one");
    assert_eq!(setup.system.time_zone, "Europe/Oslo");
    let peers: Vec<IpAddr> = vec![[192, 0, 2, 11].into(), [192, 0, 2, 12].into()];
    assert_eq!(setup.cluster.map(|c| c.peers), Some(peers));
}

#[test]
fn dhcp_and_defaults_ask_little() {
    let mut wizard = wizard();
    for answer in ["", "dhcp", "", "two", "", "", ""] {
        assert_eq!(
            wizard.answer(answer),
            Reply::Next,
            "{:?}",
            wizard.question()
        );
    }
    for (_, answer) in &GOOD[14..18] {
        assert_eq!(wizard.answer(answer), Reply::Next);
    }
    assert_eq!(wizard.answer(""), Reply::Next);
    assert_eq!(wizard.answer(""), Reply::Next);
    assert!(matches!(wizard.answer("a"), Reply::Finished(_)));
}

#[test]
fn every_wrong_answer_says_what_was_expected() {
    let wrong: &[(&str, &[&str], &str)] = &[
        ("IP protocol", &["ipv5", "yes"], "ipv4, ipv6 or both"),
        ("IPv4 address by", &["auto"], "static or dhcp"),
        (
            "IPv4 address",
            &["", "1.2.3", "300.1.1.1", "::1"],
            "an IPv4 address",
        ),
        (
            "IPv4 address",
            &["127.0.0.1", "0.0.0.0", "224.0.0.1"],
            "the address of one system",
        ),
        (
            "IPv4 mask",
            &["33", "0", "255.0.255.0", "x", "+8"],
            "prefix length",
        ),
        (
            "IPv4 gateway",
            &["192.0.3.1", "192.0.2.11", "192.0.2.255"],
            "inside 192.0.2.0/24",
        ),
        (
            "IPv6 address",
            &["fe80::1", "::1", "ff02::1", "::ffff:1.2.3.4"],
            "not link-local",
        ),
        (
            "IPv6 address",
            &["2001:db8::/64", "1.2.3.4"],
            "an IPv6 address",
        ),
        ("IPv6 prefix", &["0", "129", "x"], "from 1 to 128"),
        ("IPv6 gateway", &["2001:db9::1"], "inside the network"),
        ("DNS servers", &["dns.example.org"], "addresses"),
        (
            "DNS servers",
            &[
                "1.1.1.1 1.1.1.1",
                "1.1.1.1 2.1.1.1 3.1.1.1 4.1.1.1 5.1.1.1 6.1.1.1",
            ],
            "at most 5",
        ),
        (
            "Host name",
            &["", "a b", "-a", "a.b", "$(reboot)", "localhost"],
            "host name",
        ),
        ("Domain name", &["a..b", "a b", "x;y"], "domain name"),
        ("NTP servers", &["1.2.3", "a;b"], "a server by name"),
        ("Time zone", &["Mars/Base", "../x"], "time zone"),
        (
            "Password of admin",
            &["", "short", "password123"],
            "at least 10 characters",
        ),
        ("Password of root", &["rootroot"], "at least 10 characters"),
        ("SSH on", &["maybe"], "yes or no"),
        ("Set up a cluster", &["later"], "yes or no"),
        (
            "Peer addresses",
            &[
                "",
                "one",
                "192.0.2.1 192.0.2.1",
                "1.1.1.1 2.1.1.1 3.1.1.1 4.1.1.1",
                "192.0.2.12",
            ],
            "addresses",
        ),
        (
            "Cluster pre-shared key",
            &["", "short", "sixteen", "aaaaaaaaaaaaaaaaaaaaaaaa"],
            "a key that peers take",
        ),
        ("\"apply\"", &["", "yes", "no"], "apply"),
    ];
    for (prompt, answers, expected) in wrong {
        // `IPv4 address by` also starts as `IPv4 address` does.
        let mut wizard = at(prompt);
        if matches!(*prompt, "IPv4 address" | "IPv6 address") {
            let _ = wizard.answer("static");
        }
        let question = wizard.question();
        for answer in *answers {
            let reply = wizard.answer(answer);
            let Reply::Refused(said) = reply else {
                panic!("{prompt}: {answer:?} gave {reply:?}");
            };
            let lower = (said.to_lowercase(), expected.to_lowercase());
            assert!(
                lower.0.contains(&lower.1),
                "{prompt}: {answer:?} gave {said:?}"
            );
            assert_eq!(wizard.question(), question, "the question stays");
        }
    }
}

#[test]
fn a_password_typed_differently_is_typed_anew() {
    let mut wizard = at("Password of admin");
    assert_eq!(wizard.answer(GOOD[14].1), Reply::Next);
    let Reply::Refused(said) = wizard.answer("something else 77") else {
        panic!("taken");
    };
    assert!(said.contains("type both again"));
    assert!(wizard.question().prompt.starts_with("Password of admin"));
}

#[test]
fn back_goes_one_question_back_and_keeps_what_was_said() {
    let mut wizard = at("IPv4 mask");
    assert_eq!(wizard.answer("<"), Reply::Next);
    assert_eq!(wizard.question().default.as_deref(), Some("192.0.2.11"));
    assert_eq!(wizard.answer(" BACK "), Reply::Next);
    assert_eq!(wizard.answer("<"), Reply::Next);
    assert_eq!(wizard.question().default.as_deref(), Some("both"));
    assert!(matches!(wizard.answer("<"), Reply::Refused(_)));
    let mut wizard = at("Password of root");
    assert_eq!(wizard.answer("<"), Reply::Next);
    assert!(wizard.question().prompt.starts_with("Password of admin"));
    assert_eq!(wizard.answer("<"), Reply::Next);
    assert!(wizard.question().prompt.starts_with("Time zone"));
}

#[test]
fn an_address_changed_after_its_gateway_is_noticed_at_the_summary() {
    let mut wizard = at("\"apply\"");
    wizard.draft.address4 = Some([198, 51, 100, 7].into());
    let Reply::Refused(said) = wizard.answer("apply") else {
        panic!("applied");
    };
    assert!(said.contains("ipv4.static.gateway"), "{said}");
    assert_eq!(wizard.answer("over"), Reply::StartOver);
}

#[test]
fn again_has_the_present_settings_as_defaults_and_asks_for_no_password() {
    let Reply::Finished(setup) = at("\"apply\"").answer("apply") else {
        panic!("not finished");
    };
    let mut wizard = Wizard::again(Vec::new(), &setup.system);
    let mut asked = 0;
    while wizard.step != question::Step::Summary {
        assert!(!wizard.question().secret);
        let answer = if wizard.step == question::Step::HostName {
            "other"
        } else {
            ""
        };
        assert_eq!(
            wizard.answer(answer),
            Reply::Next,
            "{:?}",
            wizard.question()
        );
        asked += 1;
    }
    assert_eq!(asked, 15);
    let changed = System {
        host_name: "other".into(),
        ..setup.system
    };
    assert_eq!(wizard.answer("apply"), Reply::Changed(Box::new(changed)));
}

#[test]
fn questions_fit_a_dumb_terminal() {
    let mut wizard = wizard();
    for (_, answer) in GOOD.iter().chain([&("", "over")]) {
        let question = wizard.question();
        assert!(question.help.lines().count() <= 16);
        let default = question.default.unwrap_or_default();
        for line in question
            .help
            .lines()
            .chain([&*format!("{} [{default}]: ", question.prompt)])
        {
            assert!(line.len() < 80 && line.is_ascii(), "{line}");
        }
        let _ = wizard.answer(answer);
    }
}

#[test]
fn the_longest_answers_fit_it_too() {
    let mut wizard = at("\"apply\"");
    let long = |last: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x1111, 1, 0x2222, 1, 0x33, last);
    wizard.draft.dns = (0x4440..0x4445).map(|last| long(last).into()).collect();
    wizard.draft.ntp = (0x4440..0x4445)
        .map(|last| long(last).to_string())
        .collect();
    wizard.draft.peers = wizard.draft.dns[..3].to_vec();
    wizard.draft.address6 = Some(long(0x4444));
    wizard.draft.gateway6 = Some(long(0x4445));
    wizard.draft.dhcp6 = false;
    for step in [
        question::Step::Dns,
        question::Step::Ntp,
        question::Step::Peers,
        question::Step::Summary,
    ] {
        let question = question::ask(step, &wizard.draft);
        let default = question.default.unwrap_or_default();
        let text = format!("{}\n{} [{default}]: ", question.help, question.prompt);
        assert!(text.lines().any(|line| line.len() > 80), "{text}");
        let shown = wrap::wrap(&text, 79);
        assert!(shown.lines().all(|line| line.len() < 80), "{shown}");
        assert!(shown.lines().count() <= 24, "{shown}");
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&shown), words(&text));
    }
}

proptest! {
    #[test]
    fn any_answers_are_taken_or_refused(
        lines in prop::collection::vec(".{0,40}|<|dhcp|both|none|1.2.3.4|24", 0..60)
    ) {
        let mut wizard = wizard();
        for line in lines {
            match wizard.answer(&line) {
                Reply::Finished(setup) => prop_assert_eq!(setup.validate(), Ok(())),
                Reply::Refused(said) => prop_assert!(!said.is_empty()),
                Reply::Next | Reply::StartOver | Reply::Changed(_) => {}
            }
        }
    }
}
