//! What a responder asks of a first request before it computes or keeps anything: a cookie, which
//! shows that who sent it can receive (RFC 7296 section 2.6), and under more load a puzzle, which
//! costs its sender work (RFC 8019 section 7.1). A puzzle that is left unsolved bars nobody: where
//! room is short, who solved one stays longer.

use super::half_open::Effort;
use super::init::reply;
use super::{Parts, notify};
use crate::ike::cookie::{Cookies, Owner};
use crate::ike::puzzle::is_solved;
use crate::ike::{Context, proposal};
use crate::wire::isakmp::notify::kind;
use crate::wire::isakmp::{Header, Puzzle};

/// What a first request has to bring.
#[derive(Clone, Copy)]
pub struct Demand<'a> {
    /// Makes and checks cookies.
    pub cookies: &'a Cookies,
    /// Zero bits of the puzzle that is given with a cookie, if one is.
    pub bits: Option<u8>,
}

impl Demand<'_> {
    /// What the sender has done if it brought a valid cookie; else (`Err`) what asks it for one. A
    /// puzzle that it did not solve, or not as it was given, is only a cookie (RFC 8019 section
    /// 7.1.4).
    pub(super) fn examine(
        self,
        context: &Context<'_>,
        header: &Header,
        parts: &Parts<'_>,
    ) -> Result<Effort, Vec<u8>> {
        let nonce = parts.nonce.unwrap_or_default();
        let owner: Owner<'_> = (context.remote, header.spi_i, nonce);
        let given = parts.notify(kind::COOKIE).map(|n| n.data.as_slice());
        let valid = given.and_then(|cookie| Some((cookie, self.cookies.verify(owner, cookie)?)));
        if let Some((cookie, asked)) = valid {
            let solution = asked.puzzle.zip(parts.solution);
            return Ok(match solution {
                Some((puzzle, keys)) if is_solved(puzzle, cookie, keys) => Effort::Puzzle,
                _ => Effort::Cookie,
            });
        }
        let Some(bits) = self.bits else {
            let cookie = self.cookies.make(owner, None);
            return Err(reply(header, 0, vec![notify(kind::COOKIE, &cookie)]));
        };
        let offered = parts.sa.unwrap_or_default();
        let Some(prf) = proposal::common_prf(context.profile, offered) else {
            // Nothing would come of it.
            let none = notify(kind::NO_PROPOSAL_CHOSEN, &[]);
            return Err(reply(header, 0, vec![none]));
        };
        let puzzle = Puzzle { prf, bits };
        let cookie = notify(kind::COOKIE, &self.cookies.make(owner, Some(puzzle)));
        let puzzle = notify(kind::PUZZLE, &puzzle.encode());
        Err(reply(header, 0, vec![cookie, puzzle]))
    }
}
