//! A point in time, written as RFC 3339 UTC with milliseconds: `2025-10-09T09:53:20.000Z`.
//!
//! Years 0 to 9999, which is what four digits can say; what lies outside is moved to the nearer end.
//! Not here: clocks and durations.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// 0000-01-01T00:00:00.000Z
const FIRST_MS: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z
const LAST_MS: i64 = 253_402_300_799_999;
const DAY_MS: i64 = 86_400_000;

impl Time {
    /// From Unix milliseconds.
    #[must_use]
    pub fn from_ms(ms: i64) -> Self {
        Self(ms.clamp(FIRST_MS, LAST_MS))
    }

    /// From Unix seconds.
    #[must_use]
    pub fn from_secs(secs: i64) -> Self {
        Self::from_ms(secs.saturating_mul(1000))
    }

    /// Unix milliseconds.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// The 24 bytes of the written form, all ASCII: for whoever writes it without a formatter.
    #[must_use]
    pub fn text(self) -> [u8; 24] {
        let (year, month, day) = date(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], ms / 3_600_000);
        put(&mut text[14..16], ms / 60_000 % 60);
        put(&mut text[17..19], ms / 1000 % 60);
        put(&mut text[20..23], ms % 1000);
        text
    }
}

/// Decimal digits, as many as there is room for.
fn put(room: &mut [u8], mut number: i64) {
    for digit in room.iter_mut().rev() {
        *digit =
            b'0' + u8::try_from(number % 10).expect("one digit of a number that is not negative");
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian).
///
/// Counts years from March, so that the leap day is the last day of the year: then the length of a month follows a
/// straight line, and no table is needed.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468; // from 0000-03-01
    let era = day.div_euclid(146_097);
    let in_era = day.rem_euclid(146_097);
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The opposite of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let in_century = year.rem_euclid(400);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_century * 365 + in_century / 4 - in_century / 100 + in_year - 719_468
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time; write it like 2025-10-09T09:53:20.000Z")]
pub struct BadTime;

/// Reads RFC 3339: any offset, any number of decimals (cut to milliseconds), a leap second as the second after it.
impl FromStr for Time {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        read(text.as_bytes()).ok_or(BadTime)
    }
}

fn read(text: &[u8]) -> Option<Time> {
    let (fixed, mut rest) = text.split_at_checked(19)?;
    let marks = [
        fixed[4],
        fixed[7],
        fixed[10].to_ascii_uppercase(),
        fixed[13],
        fixed[16],
    ];
    if marks != *b"--T::" {
        return None;
    }
    let (year, month, day) = (
        digits(&fixed[0..4])?,
        digits(&fixed[5..7])?,
        digits(&fixed[8..10])?,
    );
    let clock = (
        digits(&fixed[11..13])?,
        digits(&fixed[14..16])?,
        digits(&fixed[17..19])?,
    );
    let (hour, minute, second) = clock;
    let is_date = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut ms = 0;
    if let Some(after) = rest.strip_prefix(b".") {
        let decimals = after
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if decimals == 0 {
            return None;
        }
        let (written, after) = after.split_at(decimals);
        for digit in written.iter().chain(b"000").take(3) {
            ms = ms * 10 + i64::from(digit - b'0');
        }
        rest = after;
    }
    let offset_minutes = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = hours * 60 + minutes;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = ((hour * 60 + minute) - offset_minutes) * 60 + second;
    let ms = days(year, month, day) * DAY_MS + seconds * 1000 + ms;
    // An offset can carry the first and the last day out of the range; such a time has no written form.
    (FIRST_MS..=LAST_MS).contains(&ms).then_some(Time(ms))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.text()).expect("digits and marks are ASCII"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(str::from_utf8(&self.text()).expect("digits and marks are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TimeVisitor;

        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }

        from.deserialize_str(TimeVisitor)
    }
}

impl schemars::JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    fn written(ms: i64) -> String {
        Time::from_ms(ms).to_string()
    }

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(written(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(written(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(written(-2_203_977_600_000), "1900-02-28T00:00:00.000Z");
        assert_eq!(written(-2_203_891_200_000), "1900-03-01T00:00:00.000Z");
    }

    #[test]
    fn times_outside_of_four_digit_years_move_to_the_nearer_end() {
        assert_eq!(written(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(Time::from_secs(i64::MAX), Time::from_ms(i64::MAX));
    }

    #[test]
    fn every_day_is_read_back_as_written() {
        for day in (-719_528..2_932_896).step_by(17) {
            let time = Time::from_ms(day * 86_400_000 + 12_345_678);
            assert_eq!(time.to_string().parse(), Ok(time), "{time}");
        }
    }

    #[test]
    fn offsets_decimals_and_leap_seconds_are_read() {
        let same = Time::from_ms(1_760_003_600_120);
        for text in [
            "2025-10-09T09:53:20.12Z",
            "2025-10-09T17:53:20.120+08:00",
            "2025-10-09t07:23:20.120999-02:30",
        ] {
            assert_eq!(text.parse(), Ok(same), "{text}");
        }
        assert_eq!(
            "2016-12-31T23:59:60Z".parse(),
            "2017-01-01T00:00:00Z".parse::<Time>()
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2025",
            "2025-10-09",
            "2025-10-09 09:53:20Z",
            "2025-10-09T09:53:20",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:61Z",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+1:00",
            "0000-01-01T00:00:00+01:00",
            "20é5-01-01T00:00:00Z",
            "2025-01-01T00:00:00Zé",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
