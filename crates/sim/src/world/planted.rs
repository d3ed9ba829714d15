//! Every checker notices the mistake it is there for: worlds with a mistake planted are unsound.

use super::World;
use crate::machine::Bug;
use crate::seeds::{Seeded, Trace};

/// Worlds in which a mistake may stay unseen.
const SEEDS: u64 = 200;

/// Runs worlds with a mistake until a checker says what it must.
fn is_noticed(bug: Bug, words: &str) {
    let mut said = Vec::new();
    for seed in 0..SEEDS {
        let mut world = World::of(seed, Trace::OFF);
        world.machine.plant(bug);
        match world.run() {
            Err(problem) if problem.contains(words) => return,
            Err(problem) => said.push(problem),
            Ok(_) => {}
        }
    }
    panic!("{bug:?} in {SEEDS} worlds, and never `{words}`: {:#?}", said.first());
}

macro_rules! noticed {
    ($($name:ident: $bug:ident, $words:literal;)*) => {$(
        #[test]
        fn $name() {
            is_noticed(Bug::$bug, $words);
        }
    )*};
}

noticed! {
    an_acknowledgement_before_its_gate: AckBeforeGate, "is not durable";
    a_queue_in_the_wrong_order: QueueReordered, " before m";
    a_packet_identifier_that_is_in_use: IdentifierReused, "while its identifier is in use";
    more_than_the_receive_maximum: WindowIgnored, "above its Receive Maximum";
    a_session_that_clean_start_should_have_ended: CleanStartIgnored, "asked for Clean Start";
    a_forgotten_identifier_of_qos_2: IdentifierForgotten, " 2 times";
    a_packet_behind_disconnect: DisconnectNotLast, "behind the end of its connection";
    two_connections_after_a_takeover: TwoConnections, "two connections";
    a_will_that_is_published_twice: WillDoubled, "was published 2 times";
    a_will_that_is_never_published: WillLost, "must be Published";
    a_message_that_is_lost: MessageLost, "never took";
    an_event_that_is_lost: EventLost, "events of client";
    a_retained_message_that_is_not_replaced: RetainedNotReplaced, " holds ";
    a_member_that_has_left_its_group: MemberKept, "everybody left";
    a_group_that_gives_a_message_twice: GroupDoubled, "groups took";
    an_unsubscribe_that_is_not_in_the_log: RecordLost, "the log has";
    a_request_that_is_carried_out_twice: RequestDoubled, "is answered 2 times";
    an_answer_that_is_lost: AnswerLost, "are not answered";
    an_update_that_nobody_hears_of: UpdateUntold, "a version is missing";
    a_change_of_a_shadow_that_is_not_in_the_log: ShadowUnlogged, "is not durable";
}
