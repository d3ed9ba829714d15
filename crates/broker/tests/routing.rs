//! Whole shard sets against a model of plain lists: who gets a message, and what is retained.

use std::collections::{BTreeMap, BTreeSet};

use bitts_broker::command::{Command, Reply};
use bitts_mqtt::{QoS, RetainHandling, SubscribeRequest, SubscriptionOptions};
use proptest::prelude::*;

mod net;

use net::{Got, Net};

const CLIENTS: usize = 6;
const NAMES: &[&str] = &["", "a", "b", "cc", "$d"];

/// What a client does.
#[derive(Clone, Debug)]
enum Act {
    Subscribe { client: usize, filter: String, qos: u8, no_local: bool, as_published: bool },
    Unsubscribe { client: usize, held: prop::sample::Index },
    Reconnect { client: usize },
    Publish { client: usize, topic: String, qos: u8, retain: bool, is_empty: bool },
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(NAMES), 1..5).prop_map(|names| {
        let topic = names.join("/");
        // Topics that begin with $ are the server's.
        if topic.is_empty() || topic.starts_with('$') { "a".to_owned() } else { topic }
    })
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => prop::sample::select(NAMES), 2 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, is_open)| {
        levels.extend(is_open.then_some("#"));
        let filter = levels.join("/");
        if filter.is_empty() { "+/a".to_owned() } else { filter }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let flag = any::<bool>;
    prop_oneof![
        5 => (0..CLIENTS, filter(), 0..3_u8, flag(), flag()).prop_map(
            |(client, filter, qos, no_local, as_published)| {
                Act::Subscribe { client, filter, qos, no_local, as_published }
            }
        ),
        2 => (0..CLIENTS, any::<prop::sample::Index>())
            .prop_map(|(client, held)| Act::Unsubscribe { client, held }),
        1 => (0..CLIENTS).prop_map(|client| Act::Reconnect { client }),
        6 => (0..CLIENTS, topic(), 0..2_u8, flag(), prop::bool::weighted(0.2)).prop_map(
            |(client, topic, qos, retain, is_empty)| {
                Act::Publish { client, topic, qos, retain, is_empty }
            }
        ),
    ]
}

/// [MQTT-4.7.1-2] [MQTT-4.7.2-1]
fn is_match(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.split_first(), topic.split_first()) {
            (Some((&"#", _)), _) => true,
            (Some((&"+", filter)), Some((_, topic))) => levels(filter, topic),
            (Some((level, filter)), Some((name, topic))) => level == name && levels(filter, topic),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    let is_hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    !is_hidden && levels(&filter, &topic)
}

/// A subscription with nothing asked for.
fn plain() -> SubscribeRequest<'static> {
    SubscribeRequest { filter: "", options: SubscriptionOptions::default() }
}

/// Sessions and retained messages as plain tables.
#[derive(Default)]
struct Model {
    held: BTreeMap<(usize, String), SubscriptionOptions>,
    /// By topic: the message, and who published it.
    retained: BTreeMap<String, Got>,
}

impl Model {
    /// Who gets a message: a client once, at the highest QoS of its subscriptions that match.
    fn receivers(&self, publisher: usize, got: &Got) -> Vec<Got> {
        let mut receivers: BTreeMap<usize, Got> = BTreeMap::new();
        for ((client, filter), options) in &self.held {
            let is_own = options.no_local && *client == publisher;
            if is_own || !is_match(filter, &got.topic) {
                continue;
            }
            let qos = options.qos.min(got.qos);
            let retain = got.retain && options.retain_as_published;
            let one = Got { client: *client, qos, retain, ..got.clone() };
            let place = receivers.entry(*client).or_insert_with(|| one.clone());
            place.qos = place.qos.max(one.qos);
            place.retain |= one.retain;
        }
        receivers.into_values().collect()
    }

    /// What a subscription gets of what is retained; with No Local nothing of its own.
    fn retained_for(&self, client: usize, filter: &str, options: SubscriptionOptions) -> Vec<Got> {
        let is_due = |kept: &&Got| {
            is_match(filter, &kept.topic) && !(options.no_local && kept.client == client)
        };
        let due = self.retained.values().filter(is_due);
        due.map(|kept| Got { client, qos: kept.qos.min(options.qos), ..kept.clone() }).collect()
    }

    fn subscribe(
        &mut self,
        net: &mut Net,
        client: usize,
        filter: &str,
        options: SubscriptionOptions,
    ) {
        net.subscribe(client, SubscribeRequest { filter, options });
        self.held.insert((client, filter.to_owned()), options);
    }

    fn publish(&mut self, net: &mut Net, publisher: usize, got: &Got) -> Vec<Got> {
        net.publish(publisher, &got.topic, &got.payload, got.qos, got.retain);
        if got.retain && got.payload.is_empty() {
            self.retained.remove(&got.topic);
        } else if got.retain {
            self.retained.insert(got.topic.clone(), got.clone());
        }
        self.receivers(publisher, got)
    }

    /// Does an act, and says what clients must get.
    fn act(&mut self, net: &mut Net, act: &Act, number: usize) -> Vec<Got> {
        match act {
            Act::Subscribe { client, filter, qos, no_local, as_published } => {
                let qos = QoS::from_number(*qos).unwrap_or_default();
                let options = SubscriptionOptions {
                    qos,
                    no_local: *no_local,
                    retain_as_published: *as_published,
                    retain_handling: RetainHandling::Send,
                };
                self.subscribe(net, *client, filter, options);
                self.retained_for(*client, filter, options)
            }
            Act::Unsubscribe { client, held } => {
                let mine: Vec<String> =
                    self.held.keys().filter(|(c, _)| c == client).map(|(_, f)| f.clone()).collect();
                if !mine.is_empty() {
                    let filter = held.get(&mine).clone();
                    net.unsubscribe(*client, &filter);
                    self.held.remove(&(*client, filter));
                }
                Vec::new()
            }
            Act::Reconnect { client } => {
                net.lose(*client);
                net.connect(*client);
                self.held.retain(|(holder, _), _| holder != client);
                Vec::new()
            }
            Act::Publish { client, topic, qos, retain, is_empty } => {
                let payload = if *is_empty { Vec::new() } else { format!("m{number}").into() };
                let qos = QoS::from_number(*qos).unwrap_or_default();
                let (client, topic, retain) = (*client, topic.clone(), *retain);
                self.publish(net, client, &Got { client, topic, payload, qos, retain })
            }
        }
    }
}

/// A subscription and a retained message meet: live or with RETAIN it comes, each once, whatever
/// shards are concerned, and what was found before its live copy came is not delivered again.
#[test]
fn a_message_that_meets_its_subscription_comes_once_with_retain() {
    let mut alone = 0;
    for client in 0..8 {
        let mut net = Net::new(4);
        net.connect(client);
        net.connect(100);
        net.hold();
        net.subscribe(client, SubscribeRequest { filter: "a", ..plain() });
        net.publish(100, "a", b"kept", QoS::One, true);
        net.release_live_last();
        let got = net.take_got();
        let retained = got.iter().filter(|got| got.retain).count();
        assert!(retained <= 1 && (1..=retained + 1).contains(&got.len()), "client {client}");
        alone += usize::from(got.len() == 1 && retained == 1);
        net.publish(100, "a", b"kept", QoS::One, true);
        assert_eq!(net.take_got().len(), 1, "client {client}: the next one");
    }
    assert!(alone > 0, "of other shards' messages the live copy comes last");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// [MQTT-3.3.4-2] [MQTT-3.3.1-12] [MQTT-3.8.3-3] [MQTT-3.3.1-9] [MQTT-4.7.0-1]
    #[test]
    fn clients_get_what_their_filters_match(
        shards in 1..5_u8,
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let mut net = Net::new(shards);
        let mut model = Model::default();
        (0..CLIENTS).for_each(|client| net.connect(client));
        for (number, act) in acts.iter().enumerate() {
            let mut expected = model.act(&mut net, act, number);
            expected.sort();
            prop_assert_eq!(net.take_got(), expected, "{}: {:?}", number, act);
        }
    }

    /// A topic has its last retained message, on one shard, and the lists are in order and whole.
    #[test]
    fn what_is_retained_is_the_last(
        shards in 1..5_u8,
        published in prop::collection::vec((topic(), prop::bool::weighted(0.3)), 1..40),
        page in 1..5_usize,
    ) {
        let mut net = Net::new(shards);
        let mut model = Model::default();
        net.connect(0);
        for (number, (topic, is_empty)) in published.iter().enumerate() {
            let payload = if *is_empty { Vec::new() } else { format!("m{number}").into() };
            let (topic, qos) = (topic.clone(), QoS::One);
            model.publish(&mut net, 0, &Got { client: 0, topic, payload, qos, retain: true });
        }
        for (topic, _) in &published {
            let reply = net.ask(topic, Command::GetRetainedMessage { topic: topic.clone() });
            let payload = match reply {
                Some(Reply::Retained(message)) => Some(message.payload.to_vec()),
                _ => None,
            };
            prop_assert_eq!(payload.as_ref(), model.retained.get(topic).map(|kept| &kept.payload));
        }
        let mut listed: Vec<String> = Vec::new();
        for reply in net.ask_all(&Command::ListRetainedMessages { after: None, max: 1000 }) {
            let Reply::RetainedList { messages, more } = reply else { panic!("{reply:?}") };
            prop_assert!(!more && messages.is_sorted_by(|one, next| one.topic < next.topic));
            listed.extend(messages.iter().map(|message| message.topic.to_string()));
        }
        listed.sort();
        prop_assert_eq!(&listed, &model.retained.keys().cloned().collect::<Vec<_>>());
        for reply in net.ask_all(&Command::ListRetainedMessages { after: None, max: page }) {
            let Reply::RetainedList { messages, more } = reply else { panic!("{reply:?}") };
            prop_assert!(messages.len() <= page && (!more || messages.len() == page));
        }
    }

    /// [MQTT5 4.8.2] Each group that matches gives a message to one of its members.
    #[test]
    fn groups_get_a_message_once(
        shards in 1..5_u8,
        changes in prop::collection::vec((0..CLIENTS, 0..3_usize, filter(), any::<bool>()), 1..30),
        topics in prop::collection::vec(topic(), 1..20),
    ) {
        let mut net = Net::new(shards);
        let mut members: BTreeMap<(String, String), BTreeSet<usize>> = BTreeMap::new();
        (0..CLIENTS).for_each(|client| net.connect(client));
        for (client, name, inner, joins) in changes {
            let group = (format!("g{name}"), inner);
            let filter = format!("$share/{}/{}", group.0, group.1);
            if joins {
                net.subscribe(client, SubscribeRequest { filter: &filter, ..plain() });
                members.entry(group).or_default().insert(client);
            } else {
                net.unsubscribe(client, &filter);
                members.entry(group).or_default().remove(&client);
            }
        }
        for topic in topics {
            net.publish(0, &topic, b"m", QoS::Zero, false);
            let due: Vec<&BTreeSet<usize>> = members
                .iter()
                .filter(|((_, inner), held)| !held.is_empty() && is_match(inner, &topic))
                .map(|(_, held)| held)
                .collect();
            let got = net.take_got();
            prop_assert_eq!(got.len(), due.len(), "{}: {:?}", topic, members);
            for client in 0..CLIENTS {
                let taken = got.iter().filter(|one| one.client == client).count();
                let may = due.iter().filter(|held| held.contains(&client)).count();
                prop_assert!(taken <= may, "{client} took {taken} of {may}: {topic}");
            }
        }
    }
}

/// Retained messages of one filter after the other; one that ends before its turn is over holds up
/// none.
#[test]
fn a_filter_that_ends_does_not_hold_up_the_retained_messages_of_another() {
    for client in 0..8 {
        let mut net = Net::new(4);
        net.connect(client);
        net.connect(100);
        for topic in ["a/1", "b/1", "c/1"] {
            net.publish(100, topic, b"kept", QoS::One, true);
        }
        net.hold();
        net.subscribe(client, SubscribeRequest { filter: "a/#", ..plain() });
        net.subscribe(client, SubscribeRequest { filter: "b/#", ..plain() });
        net.unsubscribe(client, "a/#");
        net.release_live_last();
        let topics: Vec<_> = net.take_got().into_iter().map(|got| got.topic).collect();
        assert_eq!(topics, ["b/1"], "client {client}");
        net.subscribe(client, SubscribeRequest { filter: "c/#", ..plain() });
        assert_eq!(net.take_got().len(), 1, "client {client}");
    }
}

/// What happens while mail between shards is under way.
#[derive(Clone, Debug)]
enum Meeting {
    Subscribe { client: usize, filter: &'static str },
    Unsubscribe { client: usize, filter: &'static str },
    Publish { topic: &'static str, is_empty: bool },
    Arrive(usize),
}

fn meeting() -> impl Strategy<Value = Meeting> {
    let filter = || prop::sample::select(vec!["a/#", "b/+", "c", "+/d/+", "e/#"]);
    let topic = prop::sample::select(vec!["a/1", "a/2", "b/1", "b/2", "c", "1/d/1", "e"]);
    prop_oneof![
        3 => (0..3_usize, filter())
            .prop_map(|(client, filter)| Meeting::Subscribe { client, filter }),
        2 => (0..3_usize, filter())
            .prop_map(|(client, filter)| Meeting::Unsubscribe { client, filter }),
        3 => (topic, prop::bool::weighted(0.1))
            .prop_map(|(topic, is_empty)| Meeting::Publish { topic, is_empty }),
        4 => (1..6_usize).prop_map(Meeting::Arrive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever meets what: in the end who is subscribed has what is retained, and nothing older
    /// behind it.
    #[test]
    fn who_is_subscribed_has_what_is_retained(
        meetings in prop::collection::vec(meeting(), 1..60)
    ) {
        let mut net = Net::new(4);
        (0..3).for_each(|client| net.connect(client));
        net.connect(100);
        net.hold();
        let (mut held, mut ended) = (BTreeSet::new(), BTreeSet::new());
        let mut retained = BTreeMap::new();
        for (number, meeting) in meetings.into_iter().enumerate() {
            match meeting {
                // What was under way for a subscription that ended is not for the next one.
                Meeting::Subscribe { client, filter } if ended.contains(&(client, filter)) => {}
                Meeting::Subscribe { client, filter } => {
                    net.subscribe(client, SubscribeRequest { filter, ..plain() });
                    held.insert((client, filter));
                }
                Meeting::Unsubscribe { client, filter } => {
                    net.unsubscribe(client, filter);
                    held.remove(&(client, filter));
                    ended.insert((client, filter));
                }
                Meeting::Publish { topic, is_empty } => {
                    let text = if is_empty { String::new() } else { number.to_string() };
                    net.publish(100, topic, text.as_bytes(), QoS::One, true);
                    retained.insert(topic, text.into_bytes());
                }
                Meeting::Arrive(mails) => net.let_arrive(mails),
            }
        }
        net.release();
        let got = net.take_in_order();
        for (client, filter) in held {
            for (topic, payload) in retained.iter().filter(|(_, payload)| !payload.is_empty()) {
                if bitts_mqtt::matches(filter, topic) {
                    let mut its = got.iter().filter(|got| got.client == client);
                    let last = its.rfind(|got| got.topic == *topic).map(|got| &got.payload);
                    prop_assert_eq!(last, Some(payload), "{} on {} to {}", topic, filter, client);
                }
            }
        }
    }
}
