//! What goes wrong: deaths, power, disks.

use std::io::ErrorKind;

use super::World;
use super::client::SessionIs;

/// Milliseconds that the Will of a client waits which was connected when the process died.
const GRACE_MS: u64 = 10_000;

/// Steps after which the committer has seen that a disk has space again.
const FULL_AFTER: usize = 300;

impl World {
    pub(super) fn start(&mut self) -> Result<(), String> {
        self.machine.restart(self.shards).map_err(|error| format!("the first start: {error}"))
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        let Some(disk) = self.machine.disk() else { return Ok(()) };
        match self.faults.below(10) {
            0..3 => self.die(false),
            3..6 => self.die(true),
            6..8 => {
                // Some operation of the next commits fails, and so does everything after it.
                let at = 1 + self.faults.below(12);
                self.note(|| format!("the disk fails at operation {at}"));
                disk.fail(at, ErrorKind::Other, true);
                Ok(())
            }
            8 => {
                // Once: whatever it is, the process must not go on from it.
                let at = 1 + self.faults.below(4);
                self.note(|| format!("operation {at} of the disk fails once"));
                disk.fail(at, ErrorKind::Other, false);
                Ok(())
            }
            _ => {
                let steps = 20 + self.faults.below(80);
                self.set_full(Some(self.at + steps));
                Ok(())
            }
        }
    }

    pub(super) fn set_full(&mut self, until: Option<usize>) {
        if self.full_until != until {
            self.note(|| format!("the disk is full until {until:?}"));
        }
        self.full_until = until;
        if let Some(until) = until {
            self.full_last = until + FULL_AFTER;
        }
        if let Some(disk) = self.machine.disk() {
            disk.set_full(until.is_some());
        }
    }

    /// The process ends at once, also during starts, until one succeeds; with the power gone, of
    /// what was not synced any part is lost.
    pub(super) fn die(&mut self, mut with_power: bool) -> Result<(), String> {
        self.set_full(None);
        self.machine.die();
        self.remember_connected()?;
        for start in 0.. {
            self.deaths += 1;
            self.lose(with_power);
            let Some(disk) = self.machine.disk() else { return Ok(()) };
            // Starts may die too, but not for ever.
            let is_cut_short = start < 3 && self.faults.chance(30);
            if is_cut_short {
                disk.fail(1 + self.faults.below(30), ErrorKind::Other, true);
            }
            let shards = 1 + self.faults.below(3) as u8;
            self.note(|| format!("a process with {shards} shards starts"));
            match self.machine.restart(shards) {
                Ok(()) if !is_cut_short => break,
                Ok(()) => self.machine.die(),
                Err(_) if is_cut_short => {}
                Err(error) => return Err(format!("a start is refused: {error}")),
            }
            with_power = self.faults.chance(50);
        }
        self.machine.pass(1 + self.faults.below(100) as u64);
        Ok(())
    }

    fn lose(&mut self, with_power: bool) {
        let Some(disk) = self.machine.disk() else { return };
        self.note(|| format!("dead; the power is gone: {with_power}"));
        if !with_power {
            return disk.revive();
        }
        if self.faults.chance(40) {
            disk.flip_unsynced(self.faults.below(1 << 20));
        }
        // Nothing, everything, or any part of it.
        let percent = self.faults.pick(&[0, 50, 90, 100]).unwrap_or(0);
        let faults = &mut self.faults;
        disk.lose_power(|| faults.chance(percent));
    }

    /// What clients know of the server ends; some of what it had written still reaches them.
    fn remember_connected(&mut self) -> Result<(), String> {
        let unix_ms = self.machine.now().unix_ms;
        self.asking.clear();
        for at in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(at) else { continue };
            let is_connected = client.is_connected && client.session == SessionIs::There;
            let will = client.will.filter(|_| is_connected).and_then(|at| self.wills.get(at));
            let wait = will.map(|will| if will.delay_ms == 0 { GRACE_MS } else { will.delay_ms });
            client.was_connected = wait.and_then(|wait| Some((unix_ms + wait, client.will?)));
            if self.faults.chance(50) {
                // What comes is taken before the end is; nothing can be answered.
                self.read(at, usize::MAX)?;
            }
            if let Some(client) = self.clients.get_mut(at) {
                if std::mem::take(&mut client.is_deleting) {
                    client.sure_from = client.links.len();
                }
                client.leave();
            }
        }
        Ok(())
    }
}
