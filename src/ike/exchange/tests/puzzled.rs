//! Puzzles given with cookies (RFC 8019): what is asked, what comes back, and what it is worth.

use super::super::half_open::Effort;
use super::*;
use crate::wire::isakmp::Puzzle;

const BITS: u8 = 8;
const SHA256: u16 = 5;

fn cookies() -> Cookies {
    Cookies::new(0, &mut Counting(3))
}

fn ask(cookies: &Cookies, bits: Option<u8>, request: &[u8]) -> Answer {
    let demand = Demand { cookies, bits };
    with(2, |context| respond(context, request, Some(demand)))
}

/// What was asked for with `bits`, and whoever is asked.
fn asked(cookies: &Cookies, bits: Option<u8>) -> (Box<Initiator>, Message) {
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let Answer::Refuse(demand, None) = ask(cookies, bits, &first) else {
        panic!("nothing was asked for");
    };
    assert!(demand.len() < first.len() / 3, "{} octets", demand.len());
    (Box::new(initiator), Message::parse(&demand).unwrap())
}

fn give(initiator: Box<Initiator>, message: &Message) -> InitStep {
    let bytes = message.encode();
    with(4, |context| initiator.receive(context, &bytes, message))
}

/// The request that follows from an answer for which one has to work.
fn worked_out(mut initiator: Box<Initiator>) -> (Box<Initiator>, Message) {
    for _ in 0..20_000 {
        let due = initiator.due();
        if let Some(request) = initiator.timeout(due).unwrap() {
            return (initiator, Message::parse(&request).unwrap());
        }
    }
    panic!("not solved");
}

/// A request that brings a solved puzzle.
fn solved(cookies: &Cookies) -> Message {
    let (initiator, demand) = asked(cookies, Some(BITS));
    let InitStep::Ignored(initiator) = give(initiator, &demand) else {
        panic!("no work was begun");
    };
    worked_out(initiator).1
}

/// What a request is worth; `None` if it is asked for something again.
fn effort(cookies: &Cookies, bits: Option<u8>, request: &Message) -> Option<Effort> {
    match ask(cookies, bits, &request.encode()) {
        Answer::Open(half_open, _) => Some(half_open.effort()),
        Answer::Refuse(..) => None,
        Answer::Ignore | Answer::Wasted => panic!("ignored"),
    }
}

#[test]
fn a_puzzle_is_given_with_a_cookie_and_its_solution_is_worth_most() {
    let cookies = cookies();
    let (initiator, demand) = asked(&cookies, Some(BITS));
    let parts = Parts::of(&demand.payloads);
    let puzzle = Puzzle {
        prf: SHA256,
        bits: BITS,
    };
    assert_eq!(parts.puzzle(), Some(puzzle));
    let cookie = parts.notify(kind::COOKIE).unwrap().clone();
    let InitStep::Ignored(initiator) = give(initiator, &demand) else {
        panic!("sent before it was solved");
    };
    assert!(initiator.is_solving());
    let (initiator, request) = worked_out(initiator);
    assert!(!initiator.is_solving());
    // HDR, N(COOKIE), PS, SA, KE, Ni (section 7.1.2).
    let kinds: Vec<u8> = request.payloads.iter().map(Payload::kind).collect();
    assert_eq!(kinds[..5], [41, 54, 33, 34, 40]);
    assert_eq!(request.payloads[0], Payload::Notify(cookie));
    let worth = effort(&cookies, Some(BITS), &request);
    assert_eq!(worth, Some(Effort::Puzzle));
    assert!(Effort::Puzzle > Effort::KeyExchange && Effort::KeyExchange > Effort::Cookie);
    // Also when the load has grown, or gone, since.
    assert_eq!(effort(&cookies, Some(16), &request), worth);
    assert_eq!(effort(&cookies, None, &request), worth);
}

#[test]
fn a_missing_or_wrong_solution_is_worth_what_its_cookie_is() {
    let cookies = cookies();
    let changes: [fn(&mut Vec<Payload>); 4] = [
        |payloads| drop(payloads.remove(1)),
        |payloads| payloads[1] = Payload::PuzzleSolution(vec![1, 2, 3, 4]),
        |payloads| payloads[1] = Payload::PuzzleSolution(vec![0; 256]),
        // The same key four times.
        |payloads| match &mut payloads[1] {
            Payload::PuzzleSolution(keys) => *keys = keys[..4].repeat(4),
            other => panic!("{other:?}"),
        },
    ];
    for change in changes {
        let mut request = solved(&cookies);
        change(&mut request.payloads);
        let worth = effort(&cookies, Some(BITS), &request);
        assert_eq!(worth, Some(Effort::Cookie));
    }
    for key in 0..4 {
        let mut request = solved(&cookies);
        match &mut request.payloads[1] {
            Payload::PuzzleSolution(keys) => keys[4 * key] ^= 0x80,
            other => panic!("{other:?}"),
        }
        let worth = effort(&cookies, Some(BITS), &request);
        assert_eq!(worth, Some(Effort::Cookie), "each key counts");
    }
}

#[test]
fn a_solution_that_was_not_asked_for_is_ignored() {
    let cookies = cookies();
    // Without a cookie it is a first request like any other.
    let mut request = solved(&cookies);
    request.payloads.remove(0);
    assert_eq!(effort(&cookies, Some(BITS), &request), None);
    let open = |answer| matches!(answer, Answer::Open(..));
    assert!(open(with(2, |context| respond(
        context,
        &request.encode(),
        None
    ))));
    // With a cookie to which no puzzle belonged it is a cookie.
    let (initiator, demand) = asked(&cookies, None);
    let InitStep::Again(_, bytes) = give(initiator, &demand) else {
        panic!("no cookie was returned");
    };
    let mut request = Message::parse(&bytes).unwrap();
    let keys = (0..16).collect();
    request.payloads.insert(1, Payload::PuzzleSolution(keys));
    let worth = effort(&cookies, Some(BITS), &request);
    assert_eq!(worth, Some(Effort::Cookie));
}

#[test]
fn a_solution_is_of_use_only_to_whose_it_is() {
    let cookies = cookies();
    let mut stolen = solved(&cookies);
    stolen.header.spi_i ^= 1;
    assert_eq!(effort(&cookies, Some(BITS), &stolen), None);
    // Nor may it be said that less was asked for.
    let mut eased = solved(&cookies);
    match &mut eased.payloads[0] {
        Payload::Notify(cookie) => cookie.data[3] = 0,
        other => panic!("{other:?}"),
    }
    assert_eq!(effort(&cookies, Some(BITS), &eased), None);
}

#[test]
fn where_no_prf_is_common_there_is_nothing_to_solve() {
    let request = request(|message| transforms(message)[1].id = 2);
    let Answer::Refuse(answer, None) = ask(&cookies(), Some(BITS), &request) else {
        panic!("not refused");
    };
    let message = Message::parse(&answer).unwrap();
    let none = notify(kind::NO_PROPOSAL_CHOSEN, &[]);
    assert_eq!(message.payloads, [none]);
}

#[test]
fn a_puzzle_without_a_cookie_is_nothing_and_one_for_ike_auth_is_shown() {
    let puzzle = || notify(kind::PUZZLE, &[0, 5, BITS]);
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let InitStep::Ignored(initiator) = step(Box::new(initiator), &first, puzzle()) else {
        panic!("not ignored");
    };
    assert!(!initiator.is_solving());
    let Answer::Open(_, bytes) = answer(&first) else {
        panic!("refused");
    };
    let mut message = Message::parse(&bytes).unwrap();
    message.payloads.push(puzzle());
    let InitStep::Hint(_, Refusal::Other(text)) = give(initiator, &message) else {
        panic!("not shown");
    };
    assert!(text.contains("IKE_AUTH"), "{text}");
}

#[test]
fn what_is_too_hard_or_unknown_is_shown_and_the_cookie_goes_back_alone() {
    for (prf, bits, word) in [(5, 255, "255 bits"), (5, 19, "19 bits"), (1, 8, "unknown")] {
        let (initiator, first) = with(1, Initiator::start).unwrap();
        let (_, mut message) = plain_answer(&first, notify(kind::COOKIE, &[5; 20]));
        let puzzle = Puzzle { prf, bits };
        let puzzle = notify(kind::PUZZLE, &puzzle.encode());
        message.payloads.push(puzzle);
        let InitStep::Unsolved(initiator, bytes, refusal) = give(Box::new(initiator), &message)
        else {
            panic!("not refused");
        };
        assert!(refusal.to_string().contains(word), "{refusal}");
        assert!(!initiator.is_solving());
        let request = Message::parse(&bytes).unwrap();
        assert_eq!(request.payloads[0], notify(kind::COOKIE, &[5; 20]));
        assert!(Parts::of(&request.payloads).solution.is_none());
    }
    // What cannot be read is none at all.
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let (_, mut message) = plain_answer(&first, notify(kind::COOKIE, &[5; 20]));
    message.payloads.push(notify(kind::PUZZLE, &[0, 5]));
    let step = give(Box::new(initiator), &message);
    assert!(matches!(step, InitStep::Again(..)));
}

/// Whoever can forge answers sets us to work three times in an attempt, and each time the last word
/// counts, so that the true one is not kept out by what came before.
#[test]
fn another_puzzle_takes_the_place_of_one_and_three_are_taken_in_an_attempt() {
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let mut initiator = Box::new(initiator);
    let with_cookie = |byte: u8, bits: u8| {
        let (_, mut message) = plain_answer(&first, notify(kind::COOKIE, &[byte; 20]));
        message.payloads.push(notify(kind::PUZZLE, &[0, 5, bits]));
        message
    };
    for (byte, bits) in [(1, 18), (2, 18), (3, 8), (4, 18)] {
        let InitStep::Ignored(same) = give(initiator, &with_cookie(byte, bits)) else {
            panic!("sent something");
        };
        initiator = same;
    }
    let due = initiator.due();
    assert_eq!(initiator.timeout(due).unwrap(), None);
    assert!(initiator.due() > due, "a slice at a time");
    let (_, request) = worked_out(initiator);
    assert_eq!(request.payloads[0], notify(kind::COOKIE, &[3; 20]));
}

#[test]
fn a_cookie_alone_ends_the_work_on_an_earlier_puzzle() {
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let (_, mut message) = plain_answer(&first, notify(kind::COOKIE, &[5; 20]));
    message.payloads.push(notify(kind::PUZZLE, &[0, 5, 18]));
    let InitStep::Ignored(initiator) = give(Box::new(initiator), &message) else {
        panic!("no work was begun");
    };
    let InitStep::Again(mut initiator, bytes) =
        step(initiator, &first, notify(kind::COOKIE, &[6; 20]))
    else {
        panic!("the cookie was not returned");
    };
    assert!(!initiator.is_solving());
    let due = initiator.due();
    assert_eq!(initiator.timeout(due).unwrap(), Some(bytes));
}

#[test]
fn work_that_takes_too_long_ends_with_the_cookie_alone_and_an_attempt_in_its_time() {
    let (initiator, first) = with(1, Initiator::start).unwrap();
    let (_, mut message) = plain_answer(&first, notify(kind::COOKIE, &[5; 20]));
    message.payloads.push(notify(kind::PUZZLE, &[0, 5, 18]));
    let InitStep::Ignored(mut initiator) = give(Box::new(initiator), &message) else {
        panic!("no work was begun");
    };
    assert_eq!(initiator.timeout(500).unwrap(), None, "nothing is repeated");
    let bytes = initiator.timeout(6_000).unwrap().expect("a request");
    let request = Message::parse(&bytes).unwrap();
    assert_eq!(request.payloads[0], notify(kind::COOKIE, &[5; 20]));
    assert!(Parts::of(&request.payloads).solution.is_none());
    assert!(initiator.due() > 6_000, "it was sent just now");
    let over = initiator.timeout(12_000).unwrap_err();
    assert!(over.to_string().contains("18 bits"), "{over}");
}

#[test]
fn the_solution_stays_with_the_cookie_when_another_group_is_wanted() {
    let cookies = cookies();
    let (initiator, demand) = asked(&cookies, Some(BITS));
    let InitStep::Ignored(initiator) = give(initiator, &demand) else {
        panic!("no work was begun");
    };
    let (initiator, before) = worked_out(initiator);
    let wish = notify(kind::INVALID_KE_PAYLOAD, &19u16.to_be_bytes());
    let InitStep::Again(_, after) = step(initiator, &before.encode(), wish) else {
        panic!("the other group was not tried");
    };
    let after = Message::parse(&after).unwrap();
    assert_eq!(after.payloads[..2], before.payloads[..2]);
}
