//! Text of `--version`: version, commit, date and target. The build script includes this file.

/// Digits of a commit's hash that are shown.
const HASH_DIGITS: usize = 12;

/// Commit that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its hash.
    pub hash: String,
    /// Its time in seconds since 1970, if it is known.
    pub seconds: Option<i64>,
}

impl Commit {
    /// Parses `hash seconds`, as git prints it and as an archive's `.commit` has it. Returns none
    /// for anything else, such as the template in a checkout.
    pub fn parse(text: &str) -> Option<Self> {
        let (hash, seconds) = text.trim().split_once(' ')?;
        let is_hash =
            hash.len() >= HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Self {
            hash: hash.to_owned(),
            seconds: seconds.parse().ok(),
        })
    }
}

/// Returns the text of `--version`, such as `0.1.0 (1a2b3c4d5e6f 2026-11-30,
/// x86_64-unknown-linux-gnu)`. `epoch` is SOURCE_DATE_EPOCH, which replaces the commit's time.
pub fn long_version(
    version: &str,
    commit: Option<&Commit>,
    epoch: Option<&str>,
    target: &str,
) -> String {
    let Some(commit) = commit else {
        return format!("{version} (unknown commit, {target})");
    };
    let hash = commit.hash.get(..HASH_DIGITS).unwrap_or(&commit.hash);
    let seconds = epoch.and_then(|epoch| epoch.parse().ok());
    let date = seconds.or(commit.seconds).map(date);
    let date = date.map_or_else(String::new, |date| format!(" {date}"));
    format!("{version} ({hash}{date}, {target})")
}

/// Formats seconds since 1970 as a date in UTC, by Howard Hinnant's `civil_from_days`.
fn date(seconds: i64) -> String {
    const DAYS_OF_ERA: i64 = 146_097;
    // Years begin in March, so that a leap day is the last day of its year.
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_996_799, "2026-11-29"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn the_version_names_commit_date_and_target() {
        let commit = Commit::parse(&format!("{HASH} 951782400\n")).unwrap();
        let version = |epoch| long_version("1.2.3", Some(&commit), epoch, "x86");
        assert_eq!(version(None), "1.2.3 (0123456789ab 2000-02-29, x86)");
        assert_eq!(version(Some("0")), "1.2.3 (0123456789ab 1970-01-01, x86)");
        let unknown = long_version("1.2.3", None, Some("0"), "x86");
        assert_eq!(unknown, "1.2.3 (unknown commit, x86)");
        for other in ["$Format:%H %ct$", "", HASH, "fatal: not a git repository"] {
            assert_eq!(Commit::parse(other), None, "{other}");
        }
    }
}
