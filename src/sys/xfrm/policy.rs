//! Policies: to and from each peer only AH with that peer's reqid, except ISAKMP and ICMP.
//!
//! The bypasses are part of failing closed, not holes in it: without ISAKMP no key, without
//! neighbour discovery no ISAKMP on IPv6 (RFC 4301 section 5, ordered policies).

use std::net::IpAddr;

use netlink_packet_xfrm::constants::{
    IPPROTO_AH, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_UDP, XFRM_MODE_TRANSPORT, XFRM_POLICY_ALLOW,
    XFRM_POLICY_IN, XFRM_POLICY_OUT,
};
use netlink_packet_xfrm::policy::{DelGetMessage, ModifyMessage};
use netlink_packet_xfrm::{
    Selector, UserPolicyId, UserPolicyInfo, UserTemplate, XfrmAttrs, XfrmMessage,
};

use super::sa::is_gone;
use super::{Xfrm, XfrmError, host_prefix};
use crate::tunnel::message::PeerList;

/// Priorities of our policies (the lower is asked first); no other software uses these values, so
/// they also mark a policy as ours.
const PRIORITY_BYPASS: u32 = 7400;
const PRIORITY_AH: u32 = 7410;

/// The ISAKMP port (RFC 7296 section 2).
const ISAKMP: u16 = 500;

/// One policy, in the terms that make two of them equal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    selector: Selector,
    direction: u8,
    /// The reqid that AH must have; `None` lets the packet through in clear.
    reqid: Option<u32>,
}

/// Makes our policies those of the list (`None`: standalone, no policies), touching only what
/// differs; what is new stands before what is obsolete goes. Returns how many changed.
pub fn sync_policies(xfrm: &mut Xfrm, list: Option<&PeerList>) -> Result<usize, XfrmError> {
    let wanted = match list {
        Some(list) => wanted(list)?,
        None => Vec::new(),
    };
    let standing = ours(xfrm)?;
    let mut changed = 0;
    for (policy, template) in &wanted {
        if !standing.contains(policy) {
            let message = XfrmMessage::UpdatePolicy(message(policy, *template));
            xfrm.change("install a policy", message)?;
            changed += 1;
        }
    }
    for policy in &standing {
        let same_place = |(other, _): &(Policy, _)| {
            other.selector == policy.selector && other.direction == policy.direction
        };
        if !wanted.iter().any(same_place) {
            let message = DelGetMessage {
                user_policy_id: UserPolicyId {
                    selector: policy.selector,
                    index: 0,
                    direction: policy.direction,
                },
                nlas: Vec::new(),
            };
            match xfrm.change("remove a policy", XfrmMessage::DeletePolicy(message)) {
                // Somebody was quicker.
                Err(XfrmError::Refused { source, .. }) if is_gone(&source) => {}
                result => result?,
            }
            changed += 1;
        }
    }
    Ok(changed)
}

/// The policies of a list, each with the template it demands.
fn wanted(list: &PeerList) -> Result<Vec<(Policy, Option<UserTemplate>)>, XfrmError> {
    let mut all = Vec::new();
    for peer in &list.peers {
        if peer.address.is_ipv4() != list.local.is_ipv4() {
            return Err(XfrmError::Families(list.local, peer.address));
        }
        let ways = [
            (XFRM_POLICY_OUT, list.local, peer.address),
            (XFRM_POLICY_IN, peer.address, list.local),
        ];
        for (direction, source, destination) in ways {
            let everything = selector(&source, &destination);
            let mut bypass = |selector| {
                let policy = Policy {
                    selector,
                    direction,
                    reqid: None,
                };
                all.push((policy, None));
            };
            // Our port alone: of a peer behind a NAT that changes ports the other is any.
            bypass(match direction {
                XFRM_POLICY_OUT => Selector {
                    proto: IPPROTO_UDP,
                    sport: ISAKMP,
                    sport_mask: u16::MAX,
                    ..everything
                },
                _ => Selector {
                    proto: IPPROTO_UDP,
                    dport: ISAKMP,
                    dport_mask: u16::MAX,
                    ..everything
                },
            });
            let proto = match source.is_ipv4() {
                true => IPPROTO_ICMP,
                false => IPPROTO_ICMPV6,
            };
            bypass(Selector {
                proto,
                ..everything
            });
            let policy = Policy {
                selector: everything,
                direction,
                reqid: Some(peer.reqid),
            };
            all.push((policy, Some(template(&source, &destination, peer.reqid))));
        }
    }
    Ok(all)
}

fn selector(source: &IpAddr, destination: &IpAddr) -> Selector {
    let mut selector = Selector::default();
    selector.source_prefix(source, host_prefix(source));
    selector.destination_prefix(destination, host_prefix(destination));
    selector
}

fn template(source: &IpAddr, destination: &IpAddr, reqid: u32) -> UserTemplate {
    let mut template = UserTemplate::default();
    template.source(source);
    template.destination(destination);
    template.protocol(IPPROTO_AH);
    template.mode(XFRM_MODE_TRANSPORT);
    template.reqid(reqid);
    template
}

fn message(policy: &Policy, template: Option<UserTemplate>) -> ModifyMessage {
    let info = UserPolicyInfo {
        selector: policy.selector,
        priority: match template {
            Some(_) => PRIORITY_AH,
            None => PRIORITY_BYPASS,
        },
        direction: policy.direction,
        action: XFRM_POLICY_ALLOW,
        ..UserPolicyInfo::default()
    };
    ModifyMessage {
        user_policy_info: info,
        nlas: template
            .into_iter()
            .map(|template| XfrmAttrs::Template(vec![template]))
            .collect(),
    }
}

/// The policies of ours that stand in this network namespace.
fn ours(xfrm: &mut Xfrm) -> Result<Vec<Policy>, XfrmError> {
    let request = XfrmMessage::GetPolicy(DelGetMessage::default());
    let all = xfrm.dump("list policies", request)?;
    Ok(all
        .into_iter()
        .filter_map(|message| match message {
            XfrmMessage::AddPolicy(message) => recognise(&message),
            _ => None,
        })
        .collect())
}

fn recognise(message: &ModifyMessage) -> Option<Policy> {
    let info = &message.user_policy_info;
    matches!(info.priority, PRIORITY_AH | PRIORITY_BYPASS).then_some(())?;
    let reqid = message.nlas.iter().find_map(|attribute| match attribute {
        XfrmAttrs::Template(templates) => templates.first().map(|template| template.reqid),
        _ => None,
    });
    Some(Policy {
        selector: info.selector,
        direction: info.direction,
        reqid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::{Peer, reqid};

    fn list(local: &str, peer: &str) -> PeerList {
        PeerList {
            local: local.parse().unwrap(),
            peers: vec![Peer {
                address: peer.parse().unwrap(),
                reqid: reqid(2),
            }],
        }
    }

    #[test]
    fn each_way_has_ah_and_two_bypasses() {
        let all = wanted(&list("fd00::1", "fd00::2")).unwrap();
        assert_eq!(all.len(), 6);
        let demanding: Vec<_> = all.iter().filter(|(_, t)| t.is_some()).collect();
        assert_eq!(demanding.len(), 2);
        for (policy, template) in demanding {
            assert_eq!(policy.reqid, Some(7402));
            assert_eq!(template.unwrap().optional, 0);
            assert_eq!(policy.selector.proto, 0);
        }
        assert!(all.iter().any(|(p, _)| p.selector.proto == IPPROTO_ICMPV6));
        // ISAKMP: our port, whatever the other is behind a NAT.
        let isakmp = all.iter().filter(|(p, _)| p.selector.proto == IPPROTO_UDP);
        let ports = isakmp.map(|(p, _)| {
            let Selector { sport, dport, .. } = p.selector;
            (p.direction, sport, dport)
        });
        let expected = [(XFRM_POLICY_OUT, ISAKMP, 0), (XFRM_POLICY_IN, 0, ISAKMP)];
        assert_eq!(ports.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_policy_is_recognised_again() {
        for (policy, template) in wanted(&list("192.0.2.1", "192.0.2.2")).unwrap() {
            assert_eq!(recognise(&message(&policy, template)), Some(policy));
        }
    }
}
