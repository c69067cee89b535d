use mq_store::{RaftIndex, Term};

use super::*;

const LEADER: NodeId = NodeId(1);
const BOOT: u64 = 77;

fn vote() -> Vote {
    Vote::new_committed(5, LEADER.0)
}

fn last(index: u64) -> Option<LogId> {
    Some(LogId {
        term: Term(5),
        node: LEADER,
        index: RaftIndex(index),
    })
}

fn follower(me: u64, voters: &[u64]) -> Election {
    let mut election = Election::new(NodeId(me));
    election.on(Event::Voters(vec![voters.iter().copied().collect()]));
    election.on(Event::Vote(vote(), Some(BOOT)));
    election
}

fn lost(index: u64) -> Lost {
    Lost {
        vote: vote(),
        last: last(index),
    }
}

/// Closed connection, refused probe, drained log.
fn prove(election: &mut Election, index: u64) -> Vec<Command> {
    assert_eq!(election.on(Event::Gone(LEADER, BOOT)), [Command::Probe(vote(), 0)]);
    assert_eq!(
        election.on(Event::Probed(vote(), Probed::Refused)),
        [Command::Drain(vote(), BOOT)]
    );
    election.on(Event::Drained(vote(), last(index)))
}

#[test]
fn proof_drops_the_lease_and_tells_the_others_but_elects_nobody_alone() {
    let mut election = follower(2, &[1, 2, 3]);
    let commands = prove(&mut election, 10);
    assert_eq!(
        commands,
        [Command::DropLease(vote()), Command::Tell(lost(10), vec![NodeId(3)])]
    );
}

#[test]
fn with_a_majority_the_greatest_log_wins_and_ties_go_to_the_lowest_id() {
    for (mine, others, wins) in [(10, 9, true), (9, 10, false), (10, 10, true)] {
        let mut election = follower(2, &[1, 2, 3]);
        prove(&mut election, mine);
        let commands = election.on(Event::Lost(NodeId(3), lost(others)));
        assert_eq!(
            commands,
            if wins { vec![Command::Elect(lost(mine))] } else { vec![] },
            "{mine} {others}"
        );
        // The other one decides the other way.
        let mut election = follower(3, &[1, 2, 3]);
        prove(&mut election, others);
        let commands = election.on(Event::Lost(NodeId(2), lost(mine)));
        assert_eq!(commands.is_empty(), wins, "{mine} {others}");
    }
}

#[test]
fn a_majority_is_needed_so_that_one_blind_member_cannot_depose_a_live_leader() {
    let mut election = follower(2, &[1, 2, 3, 4, 5]);
    prove(&mut election, 10);
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))), []);
    assert_eq!(election.on(Event::Lost(NodeId(4), lost(9))), [Command::Elect(lost(10))]);
}

#[test]
fn both_halves_of_a_changing_membership_must_agree() {
    let mut election = follower(2, &[1, 2, 3]);
    election.on(Event::Voters(vec![
        BTreeSet::from([1, 2, 3]),
        BTreeSet::from([2, 4, 5]),
    ]));
    prove(&mut election, 10);
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))), []);
    assert_eq!(election.on(Event::Lost(NodeId(4), lost(9))), [Command::Elect(lost(10))]);
}

#[test]
fn an_early_word_counts_once_the_own_proof_is_there() {
    let mut election = follower(2, &[1, 2, 3]);
    assert_eq!(
        election.on(Event::Lost(NodeId(3), lost(9))),
        [Command::Probe(vote(), 0)]
    );
    assert_eq!(election.agrees(vote()), None);
    election.on(Event::Probed(vote(), Probed::Refused));
    let commands = election.on(Event::Drained(vote(), last(10)));
    assert_eq!(commands.last(), Some(&Command::Elect(lost(10))));
}

#[test]
fn the_word_of_others_is_never_a_proof() {
    let mut election = follower(2, &[1, 2, 3]);
    election.on(Event::Lost(NodeId(3), lost(9)));
    let commands = election.on(Event::Probed(vote(), Probed::Boot(BOOT)));
    assert_eq!(commands, [Command::Probe(vote(), 5_000)]);
    assert_eq!(election.agrees(vote()), None);
}

#[test]
fn another_boot_id_is_a_proof_and_the_same_one_withdraws_it() {
    let mut election = follower(2, &[1, 2, 3]);
    assert_eq!(
        election.on(Event::Heard(LEADER, BOOT + 1)),
        [Command::Drain(vote(), BOOT)]
    );

    let mut election = follower(2, &[1, 2, 3]);
    prove(&mut election, 10);
    assert!(election.agrees(vote()).is_some());
    election.on(Event::Heard(LEADER, BOOT));
    assert_eq!(election.agrees(vote()), None);
    assert_eq!(
        election.on(Event::Lost(NodeId(3), lost(9))),
        [Command::Probe(vote(), 0)]
    );
}

#[test]
fn a_time_out_is_no_proof() {
    let mut election = follower(2, &[1, 2, 3]);
    election.on(Event::Gone(LEADER, BOOT));
    assert_eq!(election.on(Event::Probed(vote(), Probed::Nothing)), []);
    assert_eq!(election.agrees(vote()), None);
}

#[test]
fn a_dying_process_is_probed_again_but_not_for_ever() {
    let mut election = follower(2, &[1, 2, 3]);
    let mut commands = election.on(Event::Gone(LEADER, BOOT));
    let mut probes = 0;
    while !commands.is_empty() {
        probes += 1;
        commands = election.on(Event::Probed(vote(), Probed::Cut));
    }
    assert_eq!(probes, CUT_PROBES_MAX + 1);
}

#[test]
fn each_vote_has_one_election_and_an_old_word_is_ignored() {
    let mut election = follower(2, &[1, 2, 3]);
    prove(&mut election, 10);
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))).len(), 1);
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))), []);
    assert_eq!(election.on(Event::Gone(LEADER, BOOT)), []);
    let next = Vote::new_committed(6, 3);
    election.on(Event::Vote(next, Some(1)));
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))), []);
    assert_eq!(election.on(Event::Gone(LEADER, BOOT)), []);
    assert_eq!(election.on(Event::Gone(NodeId(3), 1)), [Command::Probe(next, 0)]);
}

#[test]
fn after_the_deadline_the_timers_rule() {
    let mut election = follower(2, &[1, 2, 3]);
    prove(&mut election, 10);
    election.on(Event::Deadline(vote()));
    assert_eq!(election.on(Event::Lost(NodeId(3), lost(9))), []);
}

#[test]
fn neither_a_learner_nor_the_leader_itself_takes_part() {
    let mut learner = follower(9, &[1, 2, 3]);
    learner.on(Event::Gone(LEADER, BOOT));
    assert_eq!(learner.on(Event::Probed(vote(), Probed::Refused)), []);

    let mut leader = follower(1, &[1, 2, 3]);
    assert_eq!(leader.on(Event::Gone(LEADER, BOOT)), []);
    assert_eq!(leader.on(Event::Lost(NodeId(3), lost(9))), []);
}
