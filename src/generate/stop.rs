//! Ending a sequence at stop strings that may lie across tokens.

/// Lets text through, but holds back what might be the beginning of a stop string.
#[derive(Debug, Default)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// A filter for `stops`, none of them empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Whether a stop string has come; nothing after it passes.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text that may be shown now that `piece` has come.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        if let Some(start) = self.first_stop() {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let keep = self.possible_beginning();
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, once nothing more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start of the stop string that is complete first (of several, the longest), so that the answer does
    /// not depend on how the text was cut into pieces.
    fn first_stop(&self) -> Option<usize> {
        let ends = self.stops.iter().filter_map(|s| {
            self.held
                .find(s.as_str())
                .map(|start| (start + s.len(), start))
        });
        ends.min().map(|(_, start)| start)
    }

    /// Bytes at the end of the held text that a stop string begins with.
    fn possible_beginning(&self) -> usize {
        let begins = |tail: &str| self.stops.iter().any(|s| s.starts_with(tail));
        let starts = self.held.char_indices().map(|(i, _)| i);
        starts
            .filter(|&i| begins(&self.held[i..]))
            .map(|i| self.held.len() - i)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = StopFilter::new(stops.iter().map(|&s| s.to_owned()).collect());
        let mut shown: String = pieces.iter().map(|p| filter.push(p)).collect();
        shown += &filter.finish();
        (shown, filter.stopped())
    }

    #[test]
    fn stops_across_pieces_and_shows_nothing_of_it() {
        assert_eq!(
            through(&["END"], &["the E", "N", "D of"]),
            ("the ".into(), true)
        );
        assert_eq!(
            through(&["END"], &["the E", "N", "T"]),
            ("the ENT".into(), false)
        );
        assert_eq!(through(&["aab"], &["aa", "ab"]), ("a".into(), true));
        assert_eq!(
            through(&["\n\n"], &["a\n", "b\n", "\nc"]),
            ("a\nb".into(), true)
        );
        assert_eq!(through(&[], &["a", "b"]), ("ab".into(), false));
        assert_eq!(
            through(&["é!"], &["caf", "é", "?"]),
            ("café?".into(), false)
        );
    }

    #[test]
    fn text_that_cannot_be_a_stop_string_is_not_held_back() {
        let mut filter = StopFilter::new(vec!["END".into()]);
        assert_eq!(filter.push("EN"), "");
        assert_eq!(filter.push("ter E"), "ENter ");
        assert_eq!(filter.finish(), "E");
    }

    #[test]
    fn pieces_do_not_matter() {
        let (text, stops) = ("xabcabdab", ["abd", "bca", "cab", "zz"]);
        let expected = through(&stops, &[text]);
        assert_eq!(expected, ("xa".into(), true));
        for i in 0..text.len() {
            for j in i..text.len() {
                let pieces = [&text[..i], &text[i..j], &text[j..]];
                assert_eq!(through(&stops, &pieces), expected, "{pieces:?}");
            }
        }
    }
}
