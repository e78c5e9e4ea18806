//! Points in time as Docker writes and reads them.
//!
//! Written in RFC 3339, in UTC. Read as RFC 3339, as seconds since 1970, or as a time span before
//! now, such as `10m` or `1h30m`.
//!
//! The calendar is the proleptic Gregorian one, by the arithmetic of eras of 400 years.

const MS_PER_DAY: i64 = 86_400_000;

/// Milliseconds of Unix time in RFC 3339.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let (year, month, day) = date_of(unix_ms.div_euclid(MS_PER_DAY));
    let ms = unix_ms.rem_euclid(MS_PER_DAY);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// The moment that a text means, in milliseconds of Unix time.
pub(super) fn read(text: &str, now_ms: u64) -> Option<u64> {
    if let Some(span) = read_span(text) {
        return Some(now_ms.saturating_sub(span));
    }
    let seconds = text.split('.').next().unwrap_or_default();
    if let Ok(seconds) = seconds.parse::<u64>() {
        return seconds.checked_mul(1000);
    }
    read_rfc3339(text)
}

/// A time span as Go writes it, in milliseconds.
fn read_span(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let mut rest = text;
    let mut span: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        span = span.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(span)
}

/// A date, or a date and a time, in UTC unless it says otherwise.
fn read_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (time, offset_min) = read_offset(time)?;
    let mut parts = time.split(':').filter(|part| !part.is_empty());
    let mut next = |most: i64| match parts.next() {
        None => Some(0),
        // Parts of a second do not matter to anybody who asks.
        Some(part) => part.split('.').next()?.parse().ok().filter(|n| (0..=most).contains(n)),
    };
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    let minutes = (days_to(year, month, day) * 24 + hour) * 60 + minute - offset_min;
    u64::try_from((minutes * 60 + second) * 1000).ok()
}

/// A time of day and what follows it: `Z`, `+01:00`, or nothing.
fn read_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (hours, minutes) = time.get(at + 1..)?.split_once(':')?;
    let hours = hours.parse::<i64>().ok().filter(|hours| (0..24).contains(hours))?;
    let minutes = minutes.parse::<i64>().ok().filter(|minutes| (0..60).contains(minutes))?;
    let sign = if time.as_bytes()[at] == b'+' { 1 } else { -1 };
    Some((&time[..at], sign * (hours * 60 + minutes)))
}

/// Year, month and day of a number of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The number of days from 1970 to a date.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn moments_are_written_in_utc() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (NOW, "2023-11-14T22:13:20.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ];
        for (unix_ms, text) in cases {
            assert_eq!(rfc3339(unix_ms), text);
            assert_eq!(read(text, NOW), Some(unix_ms / 1000 * 1000), "{text}");
        }
        for days in (0..40_000).step_by(13) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), days);
        }
    }

    #[test]
    fn moments_are_read_in_all_of_dockers_ways_and_nothing_else() {
        let cases = [
            ("10m", Some(NOW - 600_000)),
            ("1h30m", Some(NOW - 5_400_000)),
            ("0s", Some(NOW)),
            ("99999999h", Some(0)),
            ("1700000000", Some(NOW)),
            ("1700000000.123", Some(NOW)),
            ("2023-11-14T23:13:20+01:00", Some(NOW)),
            ("2023-11-14T22:13:20", Some(NOW)),
            ("2023-11-14", Some(1_699_920_000_000)),
            ("", None),
            ("10", Some(10_000)),
            ("10x", None),
            ("m", None),
            ("2023-13-01", None),
            ("2023-11-14T25:00:00Z", None),
            ("2023-11-14T22:13:20+é", None),
            ("yesterday", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, NOW), expected, "{text}");
        }
    }
}
