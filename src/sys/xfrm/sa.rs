//! Security associations: AH (RFC 4302), transport mode, bound to one peer by selector and reqid.

use std::net::IpAddr;

use netlink_packet_xfrm::constants::{IPPROTO_AH, XFRM_MODE_TRANSPORT};
use netlink_packet_xfrm::constants::{XFRM_STATE_ALIGN4, XFRM_STATE_ESN};
use netlink_packet_xfrm::state::{AllocSpiMessage, DelGetMessage, GetDumpMessage, ModifyMessage};
use netlink_packet_xfrm::{
    AlgAuth, ReplayEsn, UserSaId, UserSaInfo, UserSpiInfo, XfrmAttrs, XfrmMessage,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{AH, Xfrm, XfrmError, address, host_prefix};
use crate::tunnel::message::{AhSa, Integrity, SaCounters};

/// Anti-replay window in packets. 32 dropped packets under load on two cores.
const REPLAY_WINDOW: u32 = 1024;

/// Without 64-bit sequence numbers an SA must end before 2^32 packets (RFC 4302 section 2.5.1):
/// the first limit asks for a rekey, the second stops it.
const SOFT_PACKETS_32: u64 = 1 << 30;
const HARD_PACKETS_32: u64 = 1 << 31;

/// If `ike` never comes back, keys end all the same; it replaces them after at most half of that.
const HARD_SECONDS: u64 = 3 * 3_600;

/// What a larval state may be called for the moment until it is deleted: 1 to 255 are reserved.
const LARVAL_SPIS: (u32, u32) = (256, u32::MAX);

/// One AH SA found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledSa {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where its packets go.
    pub destination: IpAddr,
    /// Security parameters index; 0 is a larval state that waits for a key.
    pub spi: u32,
    /// The request id that ties it to policies.
    pub reqid: u32,
    /// Number of the acquire that made it, if it is a larval state.
    pub acquire: u32,
    /// When it was installed, in seconds of the kernel's clock.
    pub since: u64,
    /// Bytes and packets carried.
    pub carried: (u64, u64),
    /// Packets dropped: replays, and wrong ICVs.
    pub dropped: (u32, u32),
}

impl InstalledSa {
    /// The counters as `keyer` reports them.
    pub fn counters(&self, local: IpAddr) -> SaCounters {
        SaCounters {
            spi: self.spi,
            inbound: self.destination == local,
            bytes: self.carried.0,
            packets: self.carried.1,
            replays: self.dropped.0,
            integrity_failures: self.dropped.1,
        }
    }
}

/// Installs one SA between `local` and its peer. Another SA of the same SPI is an error; this very
/// one is not, and stays as it is.
pub fn install(xfrm: &mut Xfrm, local: IpAddr, reqid: u32, sa: &AhSa) -> Result<(), XfrmError> {
    let message = message(local, reqid, sa)?;
    let exists = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AlreadyExists;
    match xfrm.change("install an SA", XfrmMessage::AddSa(message)) {
        Err(XfrmError::Refused { source, .. })
            if exists(&source) && stands(xfrm, local, reqid, sa)? =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Whether it stands already, key and all.
fn stands(xfrm: &mut Xfrm, local: IpAddr, reqid: u32, sa: &AhSa) -> Result<bool, XfrmError> {
    let destination = if sa.inbound { local } else { sa.peer };
    let mut same = false;
    let message = XfrmMessage::GetSa(named(destination, sa.spi));
    xfrm.ask("look for an SA", message, |mut found| {
        if let XfrmMessage::AddSa(found) = &found {
            let keyed = |attribute: &XfrmAttrs| match attribute {
                XfrmAttrs::AuthenticationAlgTrunc(has) => has.alg_key.ct_eq(&sa.key.0).into(),
                _ => false,
            };
            same |= found.user_sa_info.reqid == reqid && found.nlas.iter().any(keyed);
        }
        wipe(&mut found);
    })?;
    Ok(same)
}

fn message(local: IpAddr, reqid: u32, sa: &AhSa) -> Result<ModifyMessage, XfrmError> {
    if local.is_ipv4() != sa.peer.is_ipv4() {
        return Err(XfrmError::Families(local, sa.peer));
    }
    let (source, destination) = match sa.inbound {
        true => (sa.peer, local),
        false => (local, sa.peer),
    };
    let mut info = UserSaInfo {
        reqid,
        mode: XFRM_MODE_TRANSPORT,
        ..UserSaInfo::default()
    };
    info.source(&source);
    info.destination(&destination);
    info.id.spi = sa.spi;
    info.id.proto = IPPROTO_AH;
    // Without the selector a packet under one peer's SA with another's source is delivered.
    info.selector.source_prefix(&source, host_prefix(&source));
    info.selector
        .destination_prefix(&destination, host_prefix(&destination));
    if local.is_ipv4() {
        // RFC 4302 section 3.3.3.2.1 aligns IPv4 to 4 bytes; Linux would use 8 otherwise and
        // every packet from a peer that does as the RFC says would die.
        info.flags |= XFRM_STATE_ALIGN4;
    }
    info.lifetime_cfg.hard_add_expires_seconds = HARD_SECONDS;
    if sa.esn {
        info.flags |= XFRM_STATE_ESN;
    } else {
        info.lifetime_cfg.soft_packet_limit = SOFT_PACKETS_32;
        info.lifetime_cfg.hard_packet_limit = HARD_PACKETS_32;
    }
    let words = REPLAY_WINDOW.div_ceil(32);
    Ok(ModifyMessage {
        user_sa_info: info,
        nlas: vec![
            XfrmAttrs::AuthenticationAlgTrunc(algorithm(sa)),
            XfrmAttrs::ReplayStateEsn(ReplayEsn {
                bmp_len: words,
                replay_window: REPLAY_WINDOW,
                bmp: vec![0; words as usize],
                ..ReplayEsn::default()
            }),
        ],
    })
}

/// The kernel's name of the algorithm, key and ICV lengths in bits (RFC 4868 section 2.3).
fn algorithm(sa: &AhSa) -> AlgAuth {
    let (name, trunc_bits) = match sa.integrity {
        Integrity::HmacSha2_256_128 => ("hmac(sha256)", 128),
        Integrity::HmacSha2_384_192 => ("hmac(sha384)", 192),
        Integrity::HmacSha2_512_256 => ("hmac(sha512)", 256),
    };
    let mut alg_name = [0; 64];
    alg_name[..name.len()].copy_from_slice(name.as_bytes());
    AlgAuth {
        alg_name,
        alg_key_len: sa.key.0.len() as u32 * 8,
        alg_trunc_len: trunc_bits,
        alg_key: sa.key.0.clone(),
    }
}

/// Overwrites the key of a message that was sent or received.
pub(super) fn wipe(message: &mut XfrmMessage) {
    if let XfrmMessage::AddSa(message) = message {
        for attribute in &mut message.nlas {
            // A dump has the key twice.
            match attribute {
                XfrmAttrs::AuthenticationAlgTrunc(algorithm) => algorithm.alg_key.zeroize(),
                XfrmAttrs::AuthenticationAlg(algorithm) => algorithm.alg_key.zeroize(),
                _ => {}
            }
        }
    }
}

/// Removes the SA towards `destination` with this SPI; one that is already gone is no error.
pub fn remove(xfrm: &mut Xfrm, destination: IpAddr, spi: u32) -> Result<(), XfrmError> {
    let message = XfrmMessage::DeleteSa(named(destination, spi));
    match xfrm.change("remove an SA", message) {
        Err(XfrmError::Refused { source, .. }) if is_gone(&source) => Ok(()),
        result => result,
    }
}

/// The SA towards `destination` with this SPI.
pub fn find(
    xfrm: &mut Xfrm,
    destination: IpAddr,
    spi: u32,
) -> Result<Option<InstalledSa>, XfrmError> {
    let mut found = None;
    let message = XfrmMessage::GetSa(named(destination, spi));
    let asked = xfrm.ask("look for an SA", message, |message| {
        found = found.take().or(described(message));
    });
    match asked {
        Err(XfrmError::Refused { source, .. }) if is_gone(&source) => Ok(None),
        result => result.map(|()| found),
    }
}

fn named(destination: IpAddr, spi: u32) -> DelGetMessage {
    let mut id = UserSaId {
        spi,
        proto: IPPROTO_AH,
        ..UserSaId::default()
    };
    id.destination(&destination);
    DelGetMessage {
        user_sa_id: id,
        nlas: Vec::new(),
    }
}

/// All AH SAs of this network namespace, larval ones too.
pub fn installed(xfrm: &mut Xfrm) -> Result<Vec<InstalledSa>, XfrmError> {
    let all = xfrm.dump(
        "list SAs",
        XfrmMessage::GetDumpSa(GetDumpMessage::default()),
    )?;
    Ok(all.into_iter().filter_map(described).collect())
}

fn described(mut message: XfrmMessage) -> Option<InstalledSa> {
    // The kernel tells root the keys, too.
    wipe(&mut message);
    match message {
        XfrmMessage::AddSa(message) => describe(&message.user_sa_info),
        _ => None,
    }
}

fn describe(info: &UserSaInfo) -> Option<InstalledSa> {
    (info.id.proto == AH).then_some(())?;
    Some(InstalledSa {
        source: address(&info.saddr, info.family)?,
        destination: address(&info.id.daddr, info.family)?,
        spi: info.id.spi,
        reqid: info.reqid,
        acquire: info.seq,
        since: info.lifetime_cur.add_time,
        carried: (info.lifetime_cur.bytes, info.lifetime_cur.packets),
        dropped: (
            // One seen before, or older than the window: either way it is no new one.
            info.stats.replay.saturating_add(info.stats.replay_window),
            info.stats.integrity_failed,
        ),
    })
}

/// Forgets larval states towards peers of ours, which would hold back new acquires for 30 s. The
/// kernel finds what it shall delete by its SPI, and a larval state has none: so it is given one.
pub fn flush_larval(xfrm: &mut Xfrm, ours: impl Fn(u32) -> bool) -> Result<(), XfrmError> {
    let larval = installed(xfrm)?.into_iter();
    for sa in larval.filter(|sa| sa.spi == 0 && ours(sa.reqid)) {
        // What it waited for may have come meanwhile, or its time may be over.
        if let Some(spi) = allocate(xfrm, &sa)? {
            remove(xfrm, sa.destination, spi)?;
        }
    }
    Ok(())
}

/// Has the kernel choose an SPI for a larval state; none if it is there no longer.
fn allocate(xfrm: &mut Xfrm, larval: &InstalledSa) -> Result<Option<u32>, XfrmError> {
    let mut spi_info = UserSpiInfo {
        min: LARVAL_SPIS.0,
        max: LARVAL_SPIS.1,
        ..UserSpiInfo::default()
    };
    let info = &mut spi_info.info;
    info.source(&larval.source);
    info.destination(&larval.destination);
    info.id.proto = IPPROTO_AH;
    info.mode = XFRM_MODE_TRANSPORT;
    info.reqid = larval.reqid;
    info.seq = larval.acquire;
    let message = AllocSpiMessage {
        spi_info,
        nlas: Vec::new(),
    };
    let mut spi = None;
    let given = |message| {
        if let XfrmMessage::AddSa(message) = message {
            spi = Some(message.user_sa_info.id.spi);
        }
    };
    let what = "give a larval SA an SPI";
    match xfrm.ask(what, XfrmMessage::AllocSpi(message), given) {
        Err(XfrmError::Refused { source, .. }) if is_gone(&source) => Ok(None),
        result => result.map(|()| spi),
    }
}

pub(super) fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::message::Secret;

    fn sa(peer: &str, inbound: bool, esn: bool) -> AhSa {
        AhSa {
            peer: peer.parse().unwrap(),
            spi: 0x1234_5678,
            inbound,
            integrity: Integrity::HmacSha2_256_128,
            key: Secret(vec![7; 32]),
            esn,
        }
    }

    #[test]
    fn an_inbound_sa_is_bound_to_its_peer() {
        let local = "192.0.2.1".parse().unwrap();
        let message = message(local, 7402, &sa("192.0.2.2", true, true)).unwrap();
        let info = message.user_sa_info;
        assert_eq!(info.reqid, 7402);
        assert_eq!(info.selector.prefixlen_s, 32);
        assert_eq!(&info.selector.saddr.addr[..4], &[192, 0, 2, 2]);
        assert_eq!(&info.id.daddr.addr[..4], &[192, 0, 2, 1]);
        assert_eq!(info.flags, XFRM_STATE_ALIGN4 | XFRM_STATE_ESN);
        assert_eq!(info.replay_window, 0, "the window is in REPLAY_ESN_VAL");
        assert_eq!(info.lifetime_cfg.hard_add_expires_seconds, HARD_SECONDS);
    }

    #[test]
    fn ipv6_is_never_aligned_to_four() {
        let local = "fd00::1".parse().unwrap();
        let message = message(local, 7402, &sa("fd00::2", false, false)).unwrap();
        let info = message.user_sa_info;
        assert_eq!(info.flags, 0);
        assert_eq!(info.selector.prefixlen_d, 128);
        assert_eq!(info.lifetime_cfg.hard_packet_limit, HARD_PACKETS_32);
    }

    #[test]
    fn families_do_not_mix() {
        let local = "fd00::1".parse().unwrap();
        assert!(message(local, 7402, &sa("192.0.2.2", true, true)).is_err());
    }
}
