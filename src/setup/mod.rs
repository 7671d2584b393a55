//! The first-boot wizard as a state machine: a question out, an answer in, the next question out.
//!
//! It knows neither terminal nor files. `<` or `back` returns to the question before, and whoever
//! drives it starts over with a new one; each wrong answer is told what was expected, and nothing
//! is final before the summary was confirmed.

mod answer;
mod question;
#[cfg(test)]
mod tests;
pub mod wrap;

pub use question::Question;
use question::Step;

use crate::settings::cluster::ClusterFields;
use crate::settings::file::{Credential, SetupFile};
use crate::settings::password::{self, Password};
use crate::settings::{
    Addressing4, Addressing6, Protocol, Route, Static4, Static6, Syslog, System,
};

/// The longest answer that is looked at, in bytes.
const ANSWER_MAX: usize = 1024;

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Taken: ask [`Wizard::question`] again.
    Next,
    /// Not taken; the text says what was expected.
    Refused(String),
    /// The summary of a first boot was confirmed.
    Finished(Box<SetupFile>),
    /// The summary of changed settings was confirmed.
    Changed(Box<System>),
    /// The summary was refused: start over.
    StartOver,
}

/// The wizard's state.
#[derive(Clone, Debug)]
pub struct Wizard {
    step: Step,
    before: Vec<Step>,
    draft: Draft,
    zones: Vec<String>,
}

/// The answers so far, each already checked.
#[derive(Clone, Debug, Default)]
struct Draft {
    protocol: Option<Protocol>,
    interface: Option<String>,
    /// Not asked for: what a file or the page set, stays.
    vlan: Option<u16>,
    routes: Vec<Route>,
    syslog: Option<Syslog>,
    dhcp4: bool,
    address4: Option<std::net::Ipv4Addr>,
    prefix4: Option<u8>,
    gateway4: Option<std::net::Ipv4Addr>,
    dhcp6: bool,
    address6: Option<std::net::Ipv6Addr>,
    prefix6: Option<u8>,
    gateway6: Option<std::net::Ipv6Addr>,
    dns: Vec<std::net::IpAddr>,
    host_name: String,
    domain_name: String,
    ntp: Vec<String>,
    time_zone: Option<String>,
    admin: Option<Password>,
    root: Option<Password>,
    ssh: bool,
    /// Only settings are asked for: passwords and cluster are changed elsewhere.
    again: bool,
    cluster: bool,
    peers: Vec<std::net::IpAddr>,
    key: Option<Password>,
}

impl Wizard {
    /// A wizard at its first question. `zones` are the time zones that exist; empty: any well
    /// formed name is taken.
    pub fn new(zones: Vec<String>) -> Self {
        Self {
            step: Step::Protocol,
            before: Vec::new(),
            draft: Draft::default(),
            zones,
        }
    }

    /// A wizard over the settings of a system that is set up: they are the defaults, and passwords
    /// and cluster are not asked for.
    pub fn again(zones: Vec<String>, present: &System) -> Self {
        let mut wizard = Self::new(zones);
        wizard.draft = Draft::of(present);
        wizard
    }

    /// The present question.
    pub fn question(&self) -> Question {
        question::ask(self.step, &self.draft)
    }

    /// Takes one line of answer.
    pub fn answer(&mut self, line: &str) -> Reply {
        if line.len() > ANSWER_MAX {
            return Reply::Refused(format!("an answer of at most {ANSWER_MAX} bytes"));
        }
        let line = line.trim_matches(['\r', '\n']);
        let word = line.trim();
        if word == "<" || word.eq_ignore_ascii_case("back") {
            return self.back();
        }
        // A password may begin or end with a blank; nothing else does.
        let text = if self.step.is_secret() { line } else { word };
        if self.step == Step::Summary {
            return self.conclude(text);
        }
        match answer::take(self.step, text, &mut self.draft, &self.zones) {
            Ok(()) => {
                self.before.push(self.step);
                self.step = following(self.step, &self.draft);
                Reply::Next
            }
            Err(expected) => {
                // The second typing differed: both are typed again.
                if let Some(first) = self.step.repeats() {
                    self.before.retain(|step| *step != first);
                    self.step = first;
                }
                Reply::Refused(expected)
            }
        }
    }

    fn back(&mut self) -> Reply {
        match self.before.pop() {
            Some(step) => {
                // Not to the repetition of a password, but to the password.
                self.step = match step.repeats() {
                    Some(first) => {
                        self.before.retain(|s| *s != first);
                        first
                    }
                    None => step,
                };
                Reply::Next
            }
            None => Reply::Refused("an answer: this is the first question".into()),
        }
    }

    fn conclude(&self, text: &str) -> Reply {
        match text.to_ascii_lowercase().as_str() {
            "apply" | "a" if self.draft.again => match self.draft.settings() {
                Ok(system) => Reply::Changed(Box::new(system)),
                Err(why) => Reply::Refused(why),
            },
            "apply" | "a" => match self.draft.finish() {
                Ok(setup) => Reply::Finished(Box::new(setup)),
                Err(why) => Reply::Refused(why),
            },
            "over" | "o" => Reply::StartOver,
            _ => Reply::Refused("\"apply\", \"over\" to start over, or \"<\" to go back".into()),
        }
    }
}

/// The question after one that was answered.
fn following(step: Step, draft: &Draft) -> Step {
    let v6 = draft.protocol.is_some_and(Protocol::has_v6);
    match step {
        Step::Protocol if draft.protocol.is_some_and(Protocol::has_v4) => Step::Method4,
        Step::Protocol => Step::Method6,
        Step::Method4 if !draft.dhcp4 => Step::Address4,
        Step::Address4 => Step::Prefix4,
        Step::Prefix4 => Step::Gateway4,
        Step::Method4 | Step::Gateway4 if v6 => Step::Method6,
        Step::Method6 if !draft.dhcp6 => Step::Address6,
        Step::Address6 => Step::Prefix6,
        Step::Prefix6 => Step::Gateway6,
        Step::Method4 | Step::Gateway4 | Step::Method6 | Step::Gateway6 => Step::Dns,
        Step::Dns => Step::HostName,
        Step::HostName => Step::DomainName,
        Step::DomainName => Step::Ntp,
        Step::Ntp => Step::TimeZone,
        Step::TimeZone if draft.again => Step::Ssh,
        Step::TimeZone => Step::Admin,
        Step::Admin => Step::AdminAgain,
        Step::AdminAgain => Step::Root,
        Step::Root => Step::RootAgain,
        Step::RootAgain => Step::Ssh,
        Step::Ssh if draft.again => Step::Summary,
        Step::Ssh => Step::Cluster,
        Step::Cluster if draft.cluster => Step::Peers,
        Step::Peers => Step::Key,
        Step::Cluster | Step::Key | Step::Summary => Step::Summary,
    }
}

impl Draft {
    fn of(system: &System) -> Self {
        let mut draft = Self {
            protocol: Some(system.protocol),
            interface: system.interface.clone(),
            vlan: system.vlan,
            routes: system.routes.clone(),
            syslog: system.syslog.clone(),
            dhcp4: system.ipv4 == Some(Addressing4::Dhcp),
            dhcp6: system.ipv6 == Some(Addressing6::Dhcp),
            dns: system.dns_servers.clone(),
            host_name: system.host_name.clone(),
            domain_name: system.domain_name.clone(),
            ntp: system.ntp_servers.clone(),
            time_zone: Some(system.time_zone.clone()),
            ssh: system.ssh,
            again: true,
            ..Self::default()
        };
        if let Some(Addressing4::Static(fixed)) = &system.ipv4 {
            draft.address4 = Some(fixed.address);
            draft.prefix4 = Some(fixed.prefix);
            draft.gateway4 = fixed.gateway;
        }
        if let Some(Addressing6::Static(fixed)) = &system.ipv6 {
            draft.address6 = Some(fixed.address);
            draft.prefix6 = Some(fixed.prefix);
            draft.gateway6 = fixed.gateway;
        }
        draft
    }

    /// The settings alone, checked once more.
    fn settings(&self) -> Result<System, String> {
        let missing = || "every question answered; go back with \"<\"".to_owned();
        let system = self.system().ok_or_else(missing)?;
        match system.validate() {
            Ok(()) => Ok(system),
            Err(why) => Err(format!("settings that fit together; {why}")),
        }
    }

    fn system(&self) -> Option<System> {
        let protocol = self.protocol?;
        let ipv4 = match (protocol.has_v4(), self.dhcp4) {
            (false, _) => None,
            (true, true) => Some(Addressing4::Dhcp),
            (true, false) => Some(Addressing4::Static(Static4 {
                address: self.address4?,
                prefix: self.prefix4?,
                gateway: self.gateway4,
            })),
        };
        let ipv6 = match (protocol.has_v6(), self.dhcp6) {
            (false, _) => None,
            (true, true) => Some(Addressing6::Dhcp),
            (true, false) => Some(Addressing6::Static(Static6 {
                address: self.address6?,
                prefix: self.prefix6?,
                gateway: self.gateway6,
            })),
        };
        Some(System {
            protocol,
            interface: self.interface.clone(),
            vlan: self.vlan,
            host_name: self.host_name.clone(),
            domain_name: self.domain_name.clone(),
            dns_servers: self.dns.clone(),
            ntp_servers: self.ntp.clone(),
            time_zone: self.time_zone.clone()?,
            ssh: self.ssh,
            ipv4,
            ipv6,
            routes: self.routes.clone(),
            syslog: self.syslog.clone(),
        })
    }

    /// The whole, checked once more: going back may have changed what later answers leaned on.
    fn finish(&self) -> Result<SetupFile, String> {
        let missing = || "every question answered; go back with \"<\"".to_owned();
        let system = self.system().ok_or_else(missing)?;
        let admin = self.admin.clone().ok_or_else(missing)?;
        let root = self.root.clone().ok_or_else(missing)?;
        let cluster = match (self.cluster, &self.key) {
            (false, _) => None,
            (true, None) => return Err(missing()),
            (true, Some(key)) => Some(ClusterFields {
                key: key.clone(),
                peers: self.peers.clone(),
                ..ClusterFields::default()
            }),
        };
        let setup = SetupFile {
            system,
            admin: Credential::Plain(admin),
            root: Credential::Plain(root),
            cluster,
        };
        match setup.validate() {
            Ok(()) => Ok(setup),
            Err(why) => Err(format!("settings that fit together; {why}")),
        }
    }
}
