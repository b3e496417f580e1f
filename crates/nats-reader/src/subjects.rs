//! Subjects that are sent the same body.

/// Subjects in one piece of memory: a list that is made and dropped without a step for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    bytes: Vec<u8>,
    /// End of each in `bytes`.
    ends: Vec<usize>,
}

impl Subjects {
    /// Creates an empty list with room for `count` subjects of `width` bytes each.
    pub fn with_capacity(count: usize, width: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count * width),
            ends: Vec::with_capacity(count),
        }
    }

    /// Adds a subject.
    pub fn push(&mut self, subject: &[u8]) {
        self.bytes.extend_from_slice(subject);
        self.ends.push(self.bytes.len());
    }

    /// Returns the subject at a place; an empty one where there is none.
    pub fn get(&self, place: usize) -> &[u8] {
        let end = self.ends.get(place).copied().unwrap_or_default();
        let start = match place.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or_default(),
            None => 0,
        };
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Iterates over the subjects in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|place| self.get(place))
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

impl<S: AsRef<[u8]>> Extend<S> for Subjects {
    fn extend<I: IntoIterator<Item = S>>(&mut self, subjects: I) {
        for subject in subjects {
            self.push(subject.as_ref());
        }
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for Subjects {
    fn from_iter<I: IntoIterator<Item = S>>(subjects: I) -> Self {
        let mut list = Self::default();
        list.extend(subjects);
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_kept_in_order_and_apart() {
        let list: Subjects = ["a.b", "", "c"].into_iter().collect();
        let all: Vec<&[u8]> = list.iter().collect();
        assert_eq!(all, [&b"a.b"[..], b"", b"c"]);
        assert_eq!(list.len(), 3);
        assert_eq!(list.get(3), b"");
        assert!(Subjects::with_capacity(2, 8).is_empty());
    }
}
