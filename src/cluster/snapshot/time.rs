//! Times as labels hold them: RFC 3339 in UTC, whole seconds, so that text sorts as time does. Pure.

use std::time::{Duration, SystemTime};

const SECONDS_A_DAY: u64 = 86_400;
/// The longest time to live of a copy.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * SECONDS_A_DAY);

/// "2026-11-21T13:44:06Z"
pub(in crate::cluster) fn rfc3339(time: SystemTime) -> String {
    let ([year, month, day], [hour, minute, second]) = parts(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// "20261121-134406": the name of a snapshot that was given none.
pub(super) fn as_name(time: SystemTime) -> String {
    let ([year, month, day], [hour, minute, second]) = parts(time);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// The label for an end after `ttl`; `None` when that lies beyond all calendars.
pub(super) fn after(now: SystemTime, ttl: Duration) -> Option<String> {
    let end = now.checked_add(ttl)?;
    // Years of five digits would no longer sort.
    Some(rfc3339(end)).filter(|text| text.len() == "2026-11-21T13:44:06Z".len())
}

/// "90s", "30m", "2h", "7d"
///
/// # Errors
/// It is none of them, or not between a second and the longest that is allowed; in words.
pub fn time_to_live(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write a number and s, m, h or d, as 2h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => SECONDS_A_DAY,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_not_a_number| wrong())?;
    let time = Duration::from_secs(count.saturating_mul(seconds));
    if time.is_zero() || time > MAX_TTL {
        return Err(format!(
            "{text:?} is not between 1s and {}d",
            MAX_TTL.as_secs() / SECONDS_A_DAY
        ));
    }
    Ok(time)
}

/// Year, month, day and hour, minute, second in UTC, by the civil calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>). Before 1970 is 1970.
fn parts(time: SystemTime) -> ([u64; 3], [u64; 3]) {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    // Counted from 1 March of the year 0, so that the leap day is the last of its year.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era.saturating_add(era.saturating_mul(400));
    let year = if month <= 2 { year.saturating_add(1) } else { year };
    ([year, month, day], [rest / 3_600, rest % 3_600 / 60, rest % 60])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn as_date_shows_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(at(seconds)), text);
        }
        assert_eq!(as_name(at(951_782_399)), "20000228-235959");
    }

    #[test]
    fn times_to_live() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)] {
            assert_eq!(time_to_live(text), Ok(Duration::from_secs(seconds)));
        }
        for text in
            ["", "2", "h", "2x", "-1h", "2 h", "0s", "4000d", "99999999999999999999d", "2h30m"]
        {
            assert!(time_to_live(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ends_sort_as_text_or_are_refused() {
        let now = at(1_735_689_599);
        assert!(after(now, Duration::from_secs(1)).unwrap() > rfc3339(now));
        assert_eq!(after(now, Duration::from_secs(400_000_000_000)), None);
        assert_eq!(after(now, Duration::MAX), None);
    }
}
