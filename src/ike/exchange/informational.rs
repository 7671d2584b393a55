//! INFORMATIONAL (RFC 7296 section 1.4): liveness, deletes, errors; and the dispatch of all
//! requests inside an established IKE SA.

use super::{Parts, notify};
use crate::ike::connection::Connection;
use crate::ike::crash;
use crate::ike::{Context, Refusal, ppk};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Delete, Payload, exchange, protocol};

impl Connection {
    /// Handles an authentic request; the answer's payloads.
    pub(in crate::ike) fn requested(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        exchange: u8,
        payloads: &[Payload],
    ) -> Vec<Payload> {
        let parts = Parts::of(payloads);
        match exchange {
            exchange::INFORMATIONAL => self.informed(context, at, &parts),
            exchange::CREATE_CHILD_SA => self.create_child(context, at, &parts),
            exchange::IKE_FOLLOWUP_KE => self.follow_up(context, at, &parts),
            _ => vec![notify(kind::INVALID_SYNTAX, &[])],
        }
    }

    fn informed(&mut self, context: &Context<'_>, at: usize, parts: &Parts<'_>) -> Vec<Payload> {
        if let Some(token) = crash::given(parts.notifies.iter().copied()) {
            let session = &mut self.sessions[at];
            session.token = Some(token);
            session.owes_token |= !session.told_token;
        }
        // Either ends the IKE SA without a delete (sections 2.21.2 and 2.21.3).
        let refused = parts.notify(kind::AUTHENTICATION_FAILED).is_some();
        let unread = parts.notify(kind::INVALID_SYNTAX).is_some();
        if refused {
            self.failure = Some(ppk::heard(context.credentials, parts));
        } else if unread {
            self.failure.get_or_insert_with(Refusal::unread);
        }
        if refused || unread {
            self.close();
        }
        if refused || unread || parts.deletes.iter().any(|d| d.protocol == protocol::IKE) {
            self.sessions[at].close(context.now);
            return Vec::new();
        }
        let mut answer = self.heard_announcement(parts);
        let mut ours = Vec::new();
        let named = parts.deletes.iter().filter(|d| d.protocol == protocol::AH);
        for spi in named.flat_map(|d| &d.spis) {
            let theirs = |c: &&crate::ike::Child| c.spi_out.to_be_bytes() == spi.as_slice();
            let Some(child) = self.children.iter().find(theirs) else {
                continue;
            };
            // A delete of ours under way has named it already (section 1.4.1).
            if !child.delete {
                ours.push(child.spi_in.to_be_bytes().to_vec());
            }
            let spi_in = child.spi_in;
            self.forget_child(context.now, spi_in);
        }
        if !ours.is_empty() {
            answer.push(Payload::Delete(Delete {
                protocol: protocol::AH,
                spi_size: 4,
                spis: ours,
            }));
        }
        answer
    }
}
