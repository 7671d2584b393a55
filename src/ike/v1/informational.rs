//! Informational exchanges (RFC 2408 section 4.8): errors, deletes, and questions whether the peer
//! is alive (RFC 3706).

use super::exchanges::NO_PROPOSAL_CHOSEN;
use super::phase1::{AUTHENTICATION_FAILED, NOT_LISTED};
use super::{Engine, Owned};
use crate::ike::{Context, Refusal};
use crate::wire::isakmp::v1::{Header, Notify};

impl Engine {
    /// An error notification in the middle of main mode: worth showing, no reason to stop waiting.
    /// Before the fifth message nothing protects it, and others are not authenticated yet.
    pub(super) fn refused(&mut self, context: &mut Context<'_>, header: &Header, bytes: &[u8]) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.owns(header)) else {
            context.dropped.no_sa += 1;
            return;
        };
        let payloads = if header.is_encrypted() {
            context.authentic(attempt.informed(header, bytes))
        } else {
            context.parse_v1(bytes).map(|(_, payloads)| payloads)
        };
        if let Some(error) = payloads.and_then(|payloads| Notify::first_error(&payloads)) {
            let refusal = match error {
                NO_PROPOSAL_CHOSEN => Refusal::NoProposal,
                AUTHENTICATION_FAILED => context.credentials.refused(),
                NOT_LISTED if header.is_encrypted() => Refusal::NotListed,
                other => Refusal::Other(format!("the peer refused main mode (notify {other})")),
            };
            attempt.hint(refusal.clone());
            self.fault.note(context.now, refusal);
        }
    }

    pub(super) fn informational(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        header: &Header,
        bytes: &[u8],
    ) {
        let said = self.phase1[at].informed(context, header, bytes);
        let Some(said) = context.authentic(said) else {
            return;
        };
        if said.fresh {
            self.heard = context.now;
        }
        self.out.extend(said.answer);
        self.deleted(context, &said.deleted);
        if let Some(error) = said.error {
            let asking = &mut self.phase1[at].asking;
            if asking.take_if(|a| a.done.is_none()).is_some() {
                self.fault.note(
                    context.now,
                    match error {
                        NO_PROPOSAL_CHOSEN => Refusal::NoProposal,
                        other => {
                            Refusal::Other(format!("the peer refused quick mode (notify {other})"))
                        }
                    },
                );
                self.put_off_quick(context);
            }
        }
        if said.error == Some(AUTHENTICATION_FAILED) {
            self.fault.note(context.now, context.credentials.refused());
        }
        if said.closed {
            let sa = self.phase1.remove(at);
            for answering in sa.answering {
                self.children
                    .retain(|o| o.confirmed || o.child.spi_in != answering.spi);
            }
            self.closed(context);
            self.evicted(context.now);
        }
    }

    /// The peer deletes pairs, and has changed over to what is left.
    fn deleted(&mut self, context: &mut Context<'_>, spis: &[u32]) {
        let named = |o: &mut Owned| spis.contains(&o.child.spi_out);
        let Some(last) = self.children.extract_if(.., named).last() else {
            return;
        };
        for owned in &mut self.children {
            owned.confirmed = true;
        }
        if self.children.is_empty() && last.is_brief(context.now) {
            // Another one at once would end alike.
            self.fault.note(context.now, Refusal::ended_at_once());
            self.put_off_quick(context);
        }
    }
}
