//! The time that a template may print.

/// A moment as a clock on the wall shows it, without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days since the first of January 1970.
    days: i64,
    /// Seconds since midnight.
    seconds: u32,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Moment {
    /// The moment so many seconds after the beginning of 1970, on the same clock: of the time in UTC that is UTC, with the
    /// offset of a zone added it is the time there. Years from 1 to 9999 can be shown; others are taken as the nearest.
    pub fn from_seconds(seconds: i64) -> Self {
        // 0001-01-01 00:00:00 and 9999-12-31 23:59:59
        let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
        Self {
            days: seconds.div_euclid(86_400),
            seconds: seconds.rem_euclid(86_400) as u32,
        }
    }

    /// Year, month (1 to 12) and day of the month, in the Gregorian calendar.
    fn date(self) -> (i64, usize, i64) {
        // Years that begin in March end with the leap day: 400 of them have 146,097 days.
        let shifted = self.days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day = shifted.rem_euclid(146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (
            era * 400 + year + i64::from(month <= 2),
            month as usize,
            date,
        )
    }

    /// Days since the first of January of `year`.
    fn day_of_year(self, year: i64) -> i64 {
        let before = year - 1;
        self.days + 719_162
            - (before * 365 + before.div_euclid(4) - before.div_euclid(100)
                + before.div_euclid(400))
    }

    /// ISO 8601's year and week.
    fn iso_week(self) -> (i64, i64) {
        // The week belongs to the year that its Thursday is in.
        let thursday = Self {
            days: self.days - (self.days + 3).rem_euclid(7) + 3,
            ..self
        };
        let year = thursday.date().0;
        (year, thursday.day_of_year(year) / 7 + 1)
    }

    /// What Python's `datetime.strftime` gives on Linux in the C locale.
    pub(super) fn format(self, format: &str) -> String {
        let mut out = String::with_capacity(format.len() + 16);
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (pad, directive) = match after.strip_prefix(['-', '_', '0']) {
                Some(directive) => (after.chars().next(), directive),
                None => (None, after),
            };
            let letter = directive.chars().next();
            match letter.and_then(|letter| self.directive(letter, pad)) {
                Some(text) => {
                    out.push_str(&text);
                    rest = &directive[letter.map_or(0, char::len_utf8)..];
                }
                None => {
                    out.push('%');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// What a letter stands for; `None` for one that stands for nothing.
    fn directive(self, letter: char, pad: Option<char>) -> Option<String> {
        if let Some((value, width, usual)) = self.number(letter) {
            return Some(match pad.unwrap_or(usual) {
                '-' => value.to_string(),
                '_' => format!("{value:width$}"),
                _ => format!("{value:0width$}"),
            });
        }
        let (_, month, _) = self.date();
        let (weekday, month) = (DAYS.get(self.weekday() as usize)?, MONTHS.get(month - 1)?);
        let half = if self.seconds < 43_200 { "AM" } else { "PM" };
        let parts = match letter {
            'c' => "%a %b %e %H:%M:%S %Y",
            'D' | 'x' => "%m/%d/%y",
            'F' => "%Y-%m-%d",
            'r' => "%I:%M:%S %p",
            'R' => "%H:%M",
            'T' | 'X' => "%H:%M:%S",
            _ => "",
        };
        Some(match letter {
            _ if !parts.is_empty() => self.format(parts),
            'a' => weekday[..3].to_owned(),
            'A' => (*weekday).to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'B' => (*month).to_owned(),
            'f' => "000000".to_owned(),
            'n' => "\n".to_owned(),
            'p' => half.to_owned(),
            'P' => half.to_lowercase(),
            's' => (self.days * 86_400 + i64::from(self.seconds)).to_string(),
            't' => "\t".to_owned(),
            'z' | 'Z' => String::new(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }

    /// Days since Sunday.
    fn weekday(self) -> i64 {
        (self.days + 4).rem_euclid(7) // the first of January 1970 was a Thursday
    }

    /// The number that a letter stands for, its digits, and how it is usually filled: with `0`, `_` or not at all.
    fn number(self, letter: char) -> Option<(i64, usize, char)> {
        let (year, month, date) = self.date();
        let seconds = i64::from(self.seconds);
        let hour = seconds / 3600;
        let twelve = (hour + 11) % 12 + 1;
        let (weekday, day) = (self.weekday(), self.day_of_year(year));
        let since_monday = (weekday + 6) % 7;
        Some(match letter {
            'C' => (year.div_euclid(100), 2, '0'),
            'd' => (date, 2, '0'),
            'e' => (date, 2, '_'),
            'g' => (self.iso_week().0.rem_euclid(100), 2, '0'),
            'G' => (self.iso_week().0, 4, '0'),
            'H' => (hour, 2, '0'),
            'I' => (twelve, 2, '0'),
            'j' => (day + 1, 3, '0'),
            'k' => (hour, 2, '_'),
            'l' => (twelve, 2, '_'),
            'm' => (month as i64, 2, '0'),
            'M' => (seconds / 60 % 60, 2, '0'),
            'S' => (seconds % 60, 2, '0'),
            'u' => (since_monday + 1, 1, '0'),
            'U' => ((day + 7 - weekday) / 7, 2, '0'),
            'V' => (self.iso_week().1, 2, '0'),
            'w' => (weekday, 1, '0'),
            'W' => ((day + 7 - since_monday) / 7, 2, '0'),
            'y' => (year.rem_euclid(100), 2, '0'),
            'Y' => (year, 1, '-'),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 Thu 001 01"),
            (951_782_399, "2000-02-28 23:59:59 Mon 059 09"),
            (951_782_400, "2000-02-29 00:00:00 Tue 060 09"),
            (1_741_503_900, "2025-03-09 07:05:00 Sun 068 10"),
            (-1, "1969-12-31 23:59:59 Wed 365 01"),
            (1_609_459_200, "2021-01-01 00:00:00 Fri 001 53"),
            (4_107_542_400, "2100-03-01 00:00:00 Mon 060 09"),
            (i64::MAX, "9999-12-31 23:59:59 Fri 365 52"),
        ] {
            let shown = Moment::from_seconds(seconds).format("%Y-%m-%d %H:%M:%S %a %j %V");
            assert_eq!(shown, expected, "{seconds}");
        }
    }
}
