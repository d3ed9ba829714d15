//! How much memory there is, and how the server's own is divided.
//!
//! The limits that could grow past the machine are cut to a part of the memory limit each: what
//! waits in queues, what is retained, what is unwritten or half read on connections. What is left
//! is for sessions, routing and the allocator.

use std::fs;
use std::path::Path;

use crate::config::{Config, ServerLimits};

/// The part of the machine that is ours where nothing else is said.
const PERCENT: u64 = 70;

/// Bytes that this process may use by default: 70 % of its container or of the machine.
fn default_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(Path::new(path)).ok()?.trim().parse::<u64>().ok())
        .min();
    let least = machine.into_iter().chain(container).min()?;
    Some(least / 100 * PERCENT)
}

/// `MemTotal` in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The limits of a server that stays inside its memory limit.
pub(crate) fn divide(config: &Config) -> (bitts_broker::Limits, ServerLimits) {
    let (mut limits, mut server) = (config.limits.clone(), config.server_limits.clone());
    let Some(total) = config.memory_limit.or_else(default_limit) else { return (limits, server) };
    let part = |divisor: u64| usize::try_from(total / divisor).unwrap_or(usize::MAX);
    if config.data_dir.is_some() {
        // What is more than that is on the disk.
        limits.queued_memory_max = limits.queued_memory_max.min(part(6));
    } else {
        limits.queued_bytes_total_max = limits.queued_bytes_total_max.min(part(6));
        limits.queued_bytes_max = limits.queued_bytes_max.min(part(6));
    }
    limits.group_queued_bytes_total_max = limits.group_queued_bytes_total_max.min(part(6));
    limits.retained_bytes_max = limits.retained_bytes_max.min(part(6));
    limits.shadow_bytes_max = limits.shadow_bytes_max.min(part(20));
    server.unwritten_bytes_max = server.unwritten_bytes_max.min(part(10));
    server.unread_bytes_max = server.unread_bytes_max.min(part(10));
    server.greeting_bytes_max = server.greeting_bytes_max.min(part(20));
    (limits, server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_cuts_what_could_grow_past_it() {
        let config = Config { memory_limit: Some(60 << 20), ..Config::default() };
        let (limits, server) = divide(&config);
        assert_eq!(limits.queued_bytes_total_max, 10 << 20);
        assert_eq!(limits.group_queued_bytes_total_max, 10 << 20);
        assert_eq!(limits.retained_bytes_max, 10 << 20);
        assert_eq!(server.unwritten_bytes_max, 6 << 20);
        let data_dir = Some("data".into());
        let (on_disk, _) = divide(&Config { data_dir, ..config });
        assert_eq!(on_disk.queued_memory_max, 10 << 20);
        assert_eq!(on_disk.queued_bytes_total_max, Config::default().limits.queued_bytes_total_max);
        let config = Config { memory_limit: Some(u64::MAX), ..Config::default() };
        let (limits, _) = divide(&config);
        assert_eq!(limits.queued_bytes_total_max, config.limits.queued_bytes_total_max);
    }

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:   24000 kB\n"), Some(24_576_000));
        assert!(default_limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
