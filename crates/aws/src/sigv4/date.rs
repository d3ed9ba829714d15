//! The moment of a signature, `20150830T123600Z`.

use std::fmt;

/// 9999-12-31T23:59:59Z.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;
const DAY_SECONDS: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Days of 400 years.
const ERA_DAYS: u64 = 146_097;

/// A moment in whole seconds, from 1970 to 9999.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AmzDate {
    unix_seconds: u64,
}

impl AmzDate {
    /// The moment so many seconds after 1970-01-01; what is past 9999 is its last second.
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        let late = seconds > UNIX_SECONDS_MAX;
        Self { unix_seconds: if late { UNIX_SECONDS_MAX } else { seconds } }
    }

    /// Seconds since 1970-01-01.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.unix_seconds
    }

    /// Reads `YYYYMMDDTHHMMSSZ`; `None` for every other form and for days that do not exist.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        if bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0_u64, |number, byte| {
                byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
            })
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
        let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !in_range || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let date = Self { unix_seconds: days * DAY_SECONDS + hour * 3600 + minute * 60 + second };
        // A day that its month lacks comes back as another one.
        (civil_from_days(days) == (year, month, day)).then_some(date)
    }

    /// `YYYYMMDD`, as a credential scope holds it.
    #[must_use]
    pub fn day(self) -> String {
        let (year, month, day) = civil_from_days(self.unix_seconds / DAY_SECONDS);
        format!("{year:04}{month:02}{day:02}")
    }
}

impl fmt::Display for AmzDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.unix_seconds / DAY_SECONDS);
        let second = self.unix_seconds % DAY_SECONDS;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// Days since 1970-01-01, of a year that begins in March: leap days come last.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

/// Year, month and day so many days after 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (UNIX_SECONDS_MAX, "99991231T235959Z"),
        ] {
            let date = AmzDate::from_unix_seconds(seconds);
            assert_eq!(date.to_string(), text);
            assert_eq!(AmzDate::parse(text), Some(date));
            assert_eq!(date.day(), text[..8]);
        }
        assert_eq!(AmzDate::from_unix_seconds(u64::MAX).unix_seconds(), UNIX_SECONDS_MAX);
    }

    #[test]
    fn other_forms_and_days_that_do_not_exist_are_refused() {
        for text in [
            "",
            "20150830T123600",
            "20150830 123600Z",
            "2015-08-30T12:36Z",
            "20150830T123600z",
            "20150230T000000Z",
            "21000229T000000Z",
            "20150431T000000Z",
            "20150001T000000Z",
            "20151301T000000Z",
            "20150100T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "20150830T123660Z",
            "19691231T235959Z",
            "+0150830T123600Z",
            "2015083ÖT12360Z",
        ] {
            assert_eq!(AmzDate::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_second_comes_back(seconds in 0..=UNIX_SECONDS_MAX) {
            let date = AmzDate::from_unix_seconds(seconds);
            proptest::prop_assert_eq!(AmzDate::parse(&date.to_string()), Some(date));
        }
    }
}
