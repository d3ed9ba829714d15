//! What is taken, what wins, and the one line for each thing that is not.

use std::time::Duration;

use super::*;

fn flags(flags: &[(&'static str, &str)]) -> Sources {
    let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    Sources { flags, ..Sources::default() }
}

fn environment(variables: &[(&str, &str)]) -> Sources {
    let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    Sources { environment: variables.iter().map(own).collect(), ..Sources::default() }
}

/// Loads `bitts.toml` with this text.
fn load_file(text: &str, sources: &Sources) -> Result<Settings, ConfigError> {
    Settings::layer(Some((Path::new("bitts.toml"), text)), overlay(sources)?)
}

fn refusal(sources: &Sources) -> String {
    Settings::load(sources).expect_err("refused").to_string()
}

fn file_refusal(text: &str) -> String {
    load_file(text, &Sources::default()).expect_err("refused").to_string()
}

#[test]
fn nothing_given_is_the_defaults() {
    let settings = Settings::load(&Sources::default()).expect("valid");
    assert_eq!(settings.config.mqtt, Some(([127, 0, 0, 1], 1883).into()));
    assert_eq!(settings.config.http, Some(([127, 0, 0, 1], 8830).into()));
    assert_eq!(settings.log, "info");
    assert!(Settings::default().changes(&settings).is_empty());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "region = 'eu-west-1'\naccount = '111111111111'\nthreads = 3\n";
    let mut sources = environment(&[("BITTS_ACCOUNT", "222222222222"), ("BITTS_THREADS", "4")]);
    sources.flags = flags(&[("threads", "5")]).flags;
    let config = load_file(file, &sources).expect("valid").config;
    assert_eq!(config.region, "eu-west-1");
    assert_eq!(config.account, "222222222222");
    assert_eq!(config.threads, 5);
}

#[test]
fn the_environment_can_name_the_file() {
    let sources = environment(&[("BITTS_CONFIG", "/nowhere/bitts.toml")]);
    let expected = "BITTS_CONFIG: /nowhere/bitts.toml: No such file or directory (os error 2)";
    assert_eq!(refusal(&sources), expected);
}

#[test]
fn limits_come_from_the_file_and_the_environment() {
    let file = "[limits]\nqueued-bytes-max = '64MiB'\nconnect-timeout = '2s'\n\
                receive-maximum = 10\nsession-expiry-max = '7d'\ndisconnect-memory = '10m'\n";
    let sources = environment(&[("BITTS_LIMITS_RECEIVE_MAXIMUM", "20")]);
    let config = load_file(file, &sources).expect("valid").config;
    assert_eq!(config.limits.queued_bytes_max, 64 << 20);
    assert_eq!(config.server_limits.connect_timeout, Duration::from_secs(2));
    assert_eq!(config.limits.receive_maximum, 20);
    assert_eq!(config.limits.session_expiry_max, 7 * 86_400);
    assert_eq!(config.limits.disconnect_memory_seconds, 600);
}

#[test]
fn every_limit_takes_its_default_and_refuses_what_is_out_of_bounds() {
    let default = Settings::default();
    for key in keys().filter(|key| key.scope == Scope::Limit) {
        let text = key.default_text();
        let settings = Settings::load(&environment(&[(&key.variable(), &text)])).expect(key.name);
        assert!(default.changes(&settings).is_empty(), "{} = {text}", key.name);
        let error = refusal(&environment(&[(&key.variable(), "99999999999999999999")]));
        assert!(error.contains("expected"), "{error}");
    }
}

#[test]
fn a_bad_value_names_file_line_key_and_what_was_expected() {
    let bad = [
        (
            "region = 'eu-west-1'\n\n[limits]\nreceive-maximum = 'many'\n",
            "bitts.toml:4: limits.receive-maximum: expected an integer from 1 to 65535, found \
             \"many\"",
        ),
        (
            "[limits]\nreceive-maximum = 0\n",
            "bitts.toml:2: limits.receive-maximum: expected an \
          integer from 1 to 65535, found 0",
        ),
        (
            "[limits]\nlinger = 1\n",
            "bitts.toml:2: limits.linger: expected a duration such as \
          \"10s\", from 0 to 1m, found 1",
        ),
        (
            "[limits]\nqueued-bytes-max = '1GB'\n",
            "bitts.toml:2: limits.queued-bytes-max: expected \
          bytes such as 1048576 or \"1MiB\", from 0 to 1024GiB, found \"1GB\"",
        ),
        (
            "mqtt = 'localhost'\n",
            "bitts.toml:1: mqtt: expected an address such as \
          \"127.0.0.1:1883\", or \"off\", found \"localhost\"",
        ),
        ("ephemeral = 'yes'\n", "bitts.toml:1: ephemeral: expected true or false, found \"yes\""),
        ("account = 123\n", "bitts.toml:1: account: expected a string of 12 digits, found 123"),
        ("limits = 3\n", "bitts.toml:1: limits: expected a table, found 3"),
        (
            "[mqtt]\nport = 3\n",
            "bitts.toml:1: mqtt: expected an address such as \
          \"127.0.0.1:1883\", or \"off\", found a table",
        ),
    ];
    for (text, expected) in bad {
        assert_eq!(file_refusal(text), expected);
    }
}

#[test]
fn an_unknown_key_is_refused_with_the_closest_known_one() {
    assert_eq!(
        file_refusal("[limits]\nrecieve_maximum = 1\n"),
        "bitts.toml:2: limits.recieve_maximum: not a setting; did you mean limits.receive-maximum?"
    );
    assert_eq!(file_refusal("config = 'x'\n"), "bitts.toml:1: config: not a setting");
    assert_eq!(file_refusal("\n\nlistener = 1\n"), "bitts.toml:3: listener: not a setting");
    assert_eq!(
        refusal(&environment(&[("BITTS_MQQT", "off")])),
        "BITTS_MQQT: not a variable of bitts; did you mean BITTS_MQTT?"
    );
}

#[test]
fn what_is_not_toml_names_its_line() {
    let error = file_refusal("region = 'eu-west-1'\nthreads = = 3\n");
    assert!(error.starts_with("bitts.toml:2: not TOML: "), "{error}");
    let error = file_refusal("threads = 1\nthreads = 2\n");
    assert!(error.starts_with("bitts.toml:2: not TOML: "), "{error}");
}

#[test]
fn what_is_available_of_these_is_taken() {
    let words = [("auth", "open"), ("test-clock", "false"), ("ephemeral", "true")];
    let settings = Settings::load(&flags(&words)).expect("valid");
    assert!(settings.ephemeral);
    assert_eq!(settings.config.data_dir, None);
}

#[test]
fn limits_that_nothing_sets_are_those_of_the_profile() {
    let aws = load_file("profile = 'aws'\n", &Sources::default()).expect("valid").config.limits;
    assert_eq!((aws.packet_bytes_max, aws.receive_maximum), (149_504, 100));
    let text = "profile = 'aws'\n[limits]\nreceive-maximum = 7\n";
    let set = load_file(text, &Sources::default()).expect("valid").config.limits;
    assert_eq!((set.packet_bytes_max, set.receive_maximum), (149_504, 7));
    let open = Settings::load(&Sources::default()).expect("valid").config.limits;
    assert_eq!(open.receive_maximum, 1_024);
}

#[test]
fn a_certificate_goes_with_its_key() {
    let error = refusal(&flags(&[("tls-certificate", "a.pem")]));
    assert_eq!(error, "--tls-certificate: expected tls-key with it");
    let error = refusal(&flags(&[("tls-key", "a.key")]));
    assert_eq!(error, "--tls-key: expected tls-certificate with it");
    let both = flags(&[("tls-certificate", "a.pem"), ("tls-key", "a.key")]);
    let settings = Settings::load(&both).expect("valid");
    assert!(settings.config.tls.is_some() && !settings.needs_development_certificate());
    let off = Settings::load(&flags(&[("mqtts", "off"), ("https", "off")])).expect("valid");
    assert!(!off.needs_development_certificate());
    assert!(Settings::load(&Sources::default()).expect("valid").needs_development_certificate());
}

#[test]
fn an_address_of_the_network_needs_a_second_word() {
    let sources = flags(&[("http", "0.0.0.0:8830"), ("auth", "open")]);
    assert_eq!(
        refusal(&sources),
        "--http: 0.0.0.0:8830 is not on loopback, and auth \"open\" lets anyone in: give \
         --insecure-open-to-network too if that is what you want"
    );
    let sources = flags(&[("http", "0.0.0.0:8830"), ("insecure-open-to-network", "true")]);
    let settings = Settings::load(&sources).expect("asked for twice");
    assert_eq!(settings.config.auth, Auth::Open);
    let settings = Settings::load(&flags(&[("http", "0.0.0.0:8830")])).expect("enforced");
    assert_eq!(settings.config.auth, Auth::Enforce);
    for loopback in ["127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        Settings::load(&flags(&[("mqtt", loopback)])).expect(loopback);
    }
}

#[test]
fn a_log_filter_is_a_level_or_levels_of_targets() {
    for good in ["debug", "off", "info,bitts_server=debug", "bitts_server::worker=trace"] {
        assert_eq!(Settings::load(&flags(&[("log", good)])).expect(good).log, good);
    }
    for bad in ["", "inf", "INFO", "bitts_server", "a=b", "=info", "info,"] {
        assert!(refusal(&flags(&[("log", bad)])).starts_with("--log: expected a level"), "{bad:?}");
    }
}

#[test]
fn a_server_without_listeners_is_refused() {
    let all = [("mqtt", "off"), ("mqtts", "off"), ("http", "off"), ("https", "off")];
    assert_eq!(
        refusal(&flags(&all)),
        "--http: expected an address while all other listeners are off, found \"off\""
    );
}

#[test]
fn a_value_that_another_wins_over_is_checked_too() {
    let sources = flags(&[("threads", "2")]);
    let error = load_file("threads = 64\n", &sources).expect_err("refused").to_string();
    assert_eq!(error, "bitts.toml:1: threads: expected an integer from 0 to 63, found 64");
    let mut sources = environment(&[("BITTS_THREADS", "65")]);
    let error = load_file("threads = 64\n", &sources).expect_err("refused").to_string();
    assert!(error.starts_with("BITTS_THREADS: "), "what wins is checked first: {error}");
    sources.flags = flags(&[("threads", "66")]).flags;
    let error = load_file("threads = 64\n", &sources).expect_err("refused").to_string();
    assert!(error.starts_with("--threads: "), "what wins is checked first: {error}");
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_not_settings() {
    let service = environment(&[
        ("BITTS_PORT", "tcp://10.0.0.1:1883"),
        ("BITTS_PORT_1883_TCP_ADDR", "10.0.0.1"),
        ("BITTS_SERVICE_HOST", "10.0.0.1"),
        ("BITTS_MQTT_SERVICE_PORT", "1883"),
    ]);
    Settings::load(&service).expect("ignored");
    for key in keys() {
        assert!(!is_made_by_kubernetes(&key.variable()), "{}", key.name);
    }
}

#[test]
fn a_reload_says_what_changed_and_what_is_live() {
    let before = Settings::default();
    let after = load_file("log = 'debug'\n[limits]\nlinger = '2s'\n", &Sources::default());
    let changes = before.changes(&after.expect("valid"));
    let change = |name, before: &str, after: &str, is_live| Change {
        name,
        before: before.to_owned(),
        after: after.to_owned(),
        is_live,
    };
    let expected =
        [change("log", "info", "debug", true), change("limits.linger", "1s", "2s", false)];
    assert_eq!(changes, expected);
}

#[test]
fn the_documentation_has_a_row_with_the_default_of_every_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("docs/configuration.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for key in keys() {
        let name = key.name.trim_start_matches("limits.");
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("no row for {}", key.name));
        let default = key.default_text();
        let cell = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        assert!(row.contains(&format!("| {cell} |")), "{}: default {cell} in {row}", key.name);
    }
    assert_eq!(rows.len(), keys().count(), "a row without a setting");
}
